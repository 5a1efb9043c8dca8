"""The command `python -m bench.bad_nights`: see the docstring of the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import bench.bad_nights
from bench.bad_nights.damages import BAD, HARMLESS, damage
from bench.bad_nights.provenance import LEAKED, OTHER_BASE, refusal
from bench.bad_nights.truth import BAD as TRULY_BAD
from bench.bad_nights.truth import UNCLEAR
from bench.bad_nights.workshop import SETTINGS, Workshop
from bench.learning.rows import origin, write_json
from bench.lifetime.improvements import interval
from everlearn import counters
from everlearn.gate.decision_record import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EACH, HARMLESS_EACH, SEEDS = 18, 50, 5
"""Candidates of each bad and of each harmless kind; and lines, on which they are evenly spread."""
REFUSED = "REFUSED"
"""The end of a candidate that does not come to the gate, or was barred."""
ENDS = (Outcome.PASS, Outcome.INSUFFICIENT, Outcome.FAIL, REFUSED)
Rows = list[dict[str, Any]]


def candidate(shop: Workshop, kind: str, number: int) -> dict[str, Any]:
    """Make a candidate, let the guards of a night and the gate judge it, and measure what it truly is.

    `gate` is the gate's outcome even where another guard refuses the candidate, `measured` that without the checks of
    bytes and rewards.
    """
    before, turn = counters.cpu_seconds(), number // SEEDS
    damage(shop, kind, number, strength=1 + turn % 4)
    stopped = shop.stopped
    measured = shop.measure()
    checks = shop.checks()
    decision, alone = shop.decide(measured, checks), shop.decide(measured)
    refused = refusal(shop, kind, number, way=turn)
    return {
        "kind": kind,
        "number": number,
        "outcome": REFUSED if refused else str(decision.outcome),
        "refused_by": refused,
        "gate": str(decision.outcome),
        "measured": str(alone.outcome),
        "checks_failed": {check.name: check.sentence for check in checks if not check.passed},
        "training_stopped": stopped,
        "rows": {f"{row.suite} against the {row.against}": row.sentence for row in decision.all_rows},
        **shop.weigh(),
        "cpu_seconds": round(counters.cpu_seconds() - before, 1),
    }


def is_bad(row: dict[str, Any]) -> bool:
    """Whether it must not be published: measured to be bad, or for where it comes from."""
    return row["kind"] in BAD and (row["truth"] == TRULY_BAD or row["kind"] in {OTHER_BASE, LEAKED})


def summarize(rows: Rows) -> dict[str, Any]:
    """Return the numbers of bad candidates that passed and of harmless ones that did not, with exact 95 % intervals."""
    bad = [row for row in rows if is_bad(row)]
    unclear = [row for row in rows if row["kind"] in BAD and not is_bad(row)]
    harmless = [row for row in rows if row["kind"] in HARMLESS and row["truth"] != TRULY_BAD]
    passed, good, others = (_count(group, Outcome.PASS) for group in (bad, harmless, unclear))
    failed = _count(harmless, Outcome.FAIL)
    destroyed = [row for row in rows if row["kind"] == "skill destroyed"]
    improved = [row for row in destroyed if row["true_target_gain"] >= SETTINGS.worthwhile_gain]
    return {
        "margin": {"skill_loss": SETTINGS.widest_margin, "target_gain": SETTINGS.worthwhile_gain, "confidence": 0.95},
        "bad": len(bad),
        "bad_passed": passed,
        "bad_passed_share": _share(passed, bad),
        "bad_passed_without_checks": sum(row["measured"] == Outcome.PASS and not row["refused_by"] for row in bad),
        "bad_refused_before_gate": _count(bad, REFUSED),
        "damaged_but_not_bad": sum(row["truth"] != UNCLEAR for row in unclear),
        "damaged_and_unclear": sum(row["truth"] == UNCLEAR for row in unclear),
        "not_bad_or_unclear_passed": others,
        "skill_destroyed": len(destroyed),
        "skill_destroyed_target_improved": len(improved),
        "harmless": len(harmless),
        "harmless_failed": round(failed / max(1, len(harmless)), 4),
        "harmless_failed_share": _share(failed, harmless),
        "harmless_passed": round(good / max(1, len(harmless)), 4),
        "harmless_passed_share": _share(good, harmless),
        "cpu_minutes": round(sum(row["cpu_seconds"] for row in rows) / 60, 1),
    }


def _count(rows: Rows, outcome: str) -> int:
    return sum(row["outcome"] == outcome for row in rows)


def _share(hits: int, rows: Rows) -> dict[str, float]:
    """Return the limits of a share, which without a candidate may be anything."""
    low, high = interval(hits, len(rows))
    return {"low": round(low, 4), "high": round(high, 4)}


def page(rows: Rows) -> str:
    """Return a table of the kinds."""
    heads = ["candidate", "number", "truly bad", "unclear", *ENDS, "bad and passed"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for kind in (*BAD, *HARMLESS):
        own = [row for row in rows if row["kind"] == kind]
        ends = Counter(row["outcome"] for row in own)
        bad = [row for row in own if is_bad(row)]
        unclear = sum(row["truth"] == UNCLEAR and not is_bad(row) for row in own)
        counts = [len(own), len(bad), unclear, *(ends[end] for end in ENDS), _count(bad, Outcome.PASS)]
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def wanted(seed: int, *, bad: int, harmless: int) -> Iterator[tuple[str, int]]:
    """Yield the candidates of a line, one of each kind at a time, so that a piece of the run has all kinds."""
    for number in range(seed, max(bad, harmless), SEEDS):
        kinds = (BAD if number < bad else ()) + (HARMLESS if number < harmless else ())
        yield from ((kind, number) for kind in kinds)


def run(rows: Rows, *, bad: int, harmless: int, folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the missing candidates until so many CPU seconds are used up."""
    known = {(row["kind"], row["number"]) for row in rows}
    for seed in range(SEEDS):
        missing = [one for one in wanted(seed, bad=bad, harmless=harmless) if one not in known]
        shop = Workshop(seed, folder=folder) if missing and counters.cpu_seconds() < seconds else None
        for kind, number in missing:
            if shop is None or counters.cpu_seconds() >= seconds:
                return
            yield candidate(shop, kind, number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=bench.bad_nights.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bad", type=int, default=EACH, help="candidates of each bad kind")
    parser.add_argument("--harmless", type=int, default=HARMLESS_EACH, help="candidates of each harmless kind")
    parser.add_argument(
        "--cpu-minutes", type=float, default=float("inf"), help="stop when this process has used these up"
    )
    parser.add_argument("--folder", type=Path, default=Path(".everlearn/bad_nights"), help="the adapters of the lines")
    parser.add_argument("--out", type=Path, default=Path("docs/bad_nights.json"))
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    source = origin(["-m", "bench.bad_nights", *(sys.argv[1:] if arguments is None else arguments)])
    rows: Rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    for row in run(rows, bad=given.bad, harmless=given.harmless, folder=given.folder, seconds=60 * given.cpu_minutes):
        rows.append(row | source)
        write_json(given.out, {"summary": summarize(rows), "rows": rows})
        print(row["kind"], row["number"], row["outcome"], row["truth"], row["cpu_seconds"], file=sys.stderr, flush=True)
    print(json.dumps(summarize(rows)) if given.json else page(rows))


if __name__ == "__main__":
    main()
