"""Certify the domains that come with Everlearn, and every task of the extra `gym`, and write what was found.

    python -m bench.certificates [NAME ...] [--seconds 300] [--learning 60] [--answers 10000] [--again] [--json]

Each domain is attacked by `everlearn domain certify` in a process of its own, at most that many seconds. A domain whose
code has a certificate is not attacked again without --again, so an interrupted run goes on where it was. Writes the
certificates to src/everlearn/domains/certification/shipped.json, which a night reads, and the table
docs/certificates.md. A domain whose process does not end in time gets a certificate that allows nothing.

Without names: all domains that are installed, and all tasks of families; `gym` names all tasks of it. `numbers`, which
generates no problems, is tried on word problems that are made here, with whole numbers, decimals, fractions, percent,
money and short expressions.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from everlearn.domains.certification.attack_trial import TrialResult
from everlearn.domains.certification.certificate import PROCEDURE, Certificate, certificate_of
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.contract import load_domain
from everlearn.domains.domain_names import known_domains, tasks_of

SHIPPED = Path("src/everlearn/domains/certification/shipped.json")
PAGE = Path("docs/certificates.md")
BEGIN, END = "<!-- certificates -->\n", "<!-- end of certificates -->\n"
GRACE_S = 60.0
"""Seconds beyond the limit after which a process is killed."""
HEAD = (
    "| domain | may train | wrong answers tried | accepted | at most | best constant | right refused | ms | learned, contradicted "
    "| date |\n| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |\n"
)


def certify(name: str, *, seconds: float, learning: float, answers: int) -> Certificate | str:
    """Return the certificate of a domain, made in another process, or why there is none."""
    command = [sys.executable, "-c", "from everlearn.cli import main; main()", "domain", "certify", name]
    command += ["--json", "--again", "--seconds", f"{seconds:g}", "--learning", f"{learning:g}"]
    command += ["--answers", str(answers)]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as rows:
        if name == "numbers":
            rows.writelines(json.dumps(row) + "\n" for row in word_problems(random.Random(0)))
            rows.flush()
            command += ["--problems", rows.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
        except subprocess.TimeoutExpired:
            return f"not finished within {seconds + GRACE_S:.0f} s"
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        return (done.stderr.strip().splitlines() or ["no output"])[-1][:120]
    return Certificate.from_content({key: facts[key] for key in facts if key not in ("allowed", "reasons", "stored")})


def nothing_shown(name: str, *, code: str, why: str) -> Certificate:
    """Return the certificate of a domain whose process ended without one."""
    return certificate_of(
        TrialResult(unmade=why),
        domain=name,
        code=code,
        created=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        everlearn=version("everlearn"),
        seconds=0,
        learned=None,
    )


def word_problems(rng: random.Random, *, count: int = 240) -> list[dict[str, str]]:
    """Return problems in words with references of six kinds."""
    rows = []
    for number in range(count):
        a, b = rng.randint(20, 97), rng.randint(3, 19)
        kinds = [
            (f"A shop has {a} boxes of {b} pens each. How many pens are these?", f"{a * b}"),
            (
                f"A rope of {a}.{b} metres is cut in 4 equal parts. How long is one, in metres?",
                f"{float(f'{a}.{b}') / 4:g}",
            ),
            (f"A cake has {a + b} pieces, and {b} are eaten. What share is left?", f"{a}/{a + b}"),
            (
                f"Of {200 * b} seats {2 * a} are taken for each {b} rows. What percent of {200 * b} is {2 * a * b}?",
                f"{a}%",
            ),
            (f"{b} tickets cost {a} dollars and 25 cents each. What do all cost?", f"${b * (a + 0.25):.2f}"),
            (f"Write the product of x + {a} and x - {b} as a polynomial.", f"x^2 + {a - b}*x - {a * b}"),
        ]
        statement, reference = kinds[number % len(kinds)]
        rows.append({"problem": statement, "reference": reference})
    return rows


def row_of(certificate: Certificate) -> str:
    """Return a row of the table."""
    reasons, learned = certificate.refusals(), certificate.learned
    tried = certificate.wrong_answers
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


def write(made: dict[str, Certificate]) -> None:
    """Add the certificates to those made before, and write the table."""
    with SHIPPED.open("r+") as lock:  # another run may be certifying other domains
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write({**read(), **made})


def read() -> dict[str, Certificate]:
    """Return the certificates that were made before."""
    return {row["domain"]: Certificate.from_content(row) for row in json.loads(SHIPPED.read_text(encoding="utf-8"))}


def _write(known: dict[str, Certificate]) -> None:
    kept = sorted(known.values(), key=lambda each: ("/" in each.domain, each.domain))
    plain = [replace(each, examples=each.examples[:2]).to_content() for each in kept]
    SHIPPED.write_text(
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in plain) + "\n]\n", encoding="utf-8"
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    rows = [row_of(each) for each in kept]
    PAGE.write_text(before + BEGIN + HEAD + "".join(rows) + END + rest.partition(END)[2], encoding="utf-8")


def _all_of(name: str) -> tuple[str, ...]:
    """Return the tasks of a family, or the name itself."""
    return (name,) if "/" in name else tasks_of(name) or (name,)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--learning", type=float, default=60.0)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    known, made = read(), dict[str, Certificate]()
    for name in [task for each in given.names or known_domains() for task in _all_of(each)]:
        code = code_version(load_domain(name))
        if not given.again and name in known and (known[name].code, known[name].procedure) == (code, PROCEDURE):
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = certify(name, seconds=given.seconds, learning=given.learning, answers=given.answers)
        made[name] = found if isinstance(found, Certificate) else nothing_shown(name, code=code, why=found)
        write(made)
    write(made)  # the table, also where nothing was attacked
    known = read()
    facts: dict[str, Any] = {
        "certified": len(known),
        "may_train": sorted(name for name, each in known.items() if not each.refusals()),
        "largest_upper_of_those": max(
            (each.false_accept_upper for each in known.values() if not each.refusals()), default=None
        ),
    }
    print(json.dumps(facts) if given.json else f"{len(facts['may_train'])} of {len(known)} may be trained on")


if __name__ == "__main__":
    main()
