"""Certify the domains that come with Everlearn, and every task of the extra `gym`, and write what was found.

    python -m bench.certificates [NAME ...] [--seconds 300] [--learning 60] [--again] [--json]

Each domain is attacked by `everlearn domain certify` in a process of its own, at most that many seconds. A domain whose code has a
certificate is not attacked again without --again, so an interrupted run goes on where it was. Writes the certificates to
src/everlearn/domains/certification/shipped.json, which a night reads, and the table docs/certificates.md. A domain whose
process does not end in time has no certificate; the table says so.

Without names: all domains that are installed, those of `gym` included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everlearn.domains.certification.certificate import PROCEDURE, Certificate
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.contract import known_domains, load_domain
from everlearn.errors import EverlearnError

if TYPE_CHECKING:
    from collections.abc import Iterable

SHIPPED = Path("src/everlearn/domains/certification/shipped.json")
PAGE = Path("docs/certificates.md")
BEGIN, END = "<!-- certificates -->\n", "<!-- end of certificates -->\n"
GRACE_S = 60.0
"""Seconds beyond the limit after which a process is killed."""
HEAD = (
    "| domain | may train | wrong answers tried | accepted | at most | best constant | right refused | ms | learned, contradicted "
    "| date |\n| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |\n"
)


def certify(name: str, *, seconds: float, learning: float) -> Certificate | str:
    """Return the certificate of a domain, made in another process, or why there is none."""
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "domain", "certify", name]
    command += ["--json", "--again", "--seconds", f"{seconds:g}", "--learning", f"{learning:g}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished within {seconds + GRACE_S:.0f} s"
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:120]
    return Certificate.from_content({key: facts[key] for key in facts if key not in ("allowed", "reasons", "stored")})


def row_of(certificate: Certificate) -> str:
    """Return a row of the table."""
    reasons, learned = certificate.refusals(), certificate.learned
    tried = sum(counts["tried"] for counts in certificate.attacks.values())
    found = (
        "-"
        if learned is None
        else f"{learned.rewarded}, {'-' if learned.contradicted is None else learned.contradicted}"
    )
    cells = [
        f"`{certificate.domain}`",
        "yes" if not reasons else f"no: {'; '.join(reasons)}",
        f"{tried:,}",
        str(certificate.false_accepts),
        f"{certificate.false_accept_upper:.2%}",
        f"`{certificate.constant[:24]}` {certificate.guess_rate or 0:.1%}" if certificate.constant else "-",
        f"{certificate.refused:.1%}",
        f"{certificate.milliseconds:.2f}",
        found,
        certificate.created[:10],
    ]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def write(certificates: Iterable[Certificate], failed: dict[str, str]) -> None:
    """Write the certificates and the table."""
    kept = sorted(certificates, key=lambda each: ("/" in each.domain, each.domain))
    plain = [replace(each, examples=each.examples[:2]).to_content() for each in kept]
    SHIPPED.write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in plain) + "\n]\n", encoding="utf-8"
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    rows = [row_of(each) for each in kept]
    rows += [f"| `{name}` | no: {why} | | | | | | | | |\n" for name, why in sorted(failed.items())]
    PAGE.write_text(before + BEGIN + HEAD + "".join(rows) + END + rest.partition(END)[2], encoding="utf-8")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--learning", type=float, default=60.0)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    known: dict[str, Certificate] = {
        row["domain"]: Certificate.from_content(row) for row in json.loads(SHIPPED.read_text())
    }
    failed: dict[str, str] = {}
    for name in given.names or known_domains():
        try:
            code = code_version(load_domain(name))
        except EverlearnError as error:
            failed[name] = str(error)
            continue
        if not given.again and name in known and (known[name].code, known[name].procedure) == (code, PROCEDURE):
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = certify(name, seconds=given.seconds, learning=given.learning)
        if isinstance(found, Certificate):
            known[name] = found
        else:
            failed[name] = found
        write(known.values(), failed)
    write(known.values(), failed)
    facts: dict[str, Any] = {
        "certified": len(known),
        "may_train": sorted(name for name, each in known.items() if not each.refusals()),
        "largest_upper_of_those": max(
            (each.false_accept_upper for each in known.values() if not each.refusals()), default=None
        ),
        "failed": failed,
    }
    print(json.dumps(facts) if given.json else f"{len(facts['may_train'])} of {len(known)} may be trained on")


if __name__ == "__main__":
    main()
