"""Disturb nights in every way that a machine can fail; each has to end with exactly one verdict.

    python -m bench.chaos [--nights 50] [--minutes M] [--faults NAME …] [--no-nightly] [--json]

SeaweedFS, a Prefect server on SQLite and `everlearn worker` are real and run on this machine. A tiny night improves
sums of six terms from about 70 % to 90 % in about 20 s of work, with real steps and a real gate. Each published version
is rolled back before the next night, so that all nights start from the same model. The night in the middle has the
profile `nightly`.

    lost       nights without a verdict within ten minutes
    twice      nights with more than one verdict, or whose data was published twice
    stuck      runs that have not ended when the night has
    recovery   seconds from the fault until every process that the night needs is running again

Writes docs/chaos.json. Not covered: several machines (a worker without the records of the previous one stands for
another machine), and S3 away for longer than a minute (that timeout is tested with a simulated clock).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.faults import FAULTS, Fault
from bench.local_line import ROOT, LocalLine, log

if TYPE_CHECKING:
    from everlearn.registry.events import Event

OUT = ROOT / "docs" / "chaos.json"
VERDICTS = {"published", "rejected", "insufficient"}
TIMEOUT_S, LONG_TIMEOUT_S = 600.0, 7200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Result of one night. `recovery_s` is None without a fault, or if the fault came too late."""

    number: int
    fault: str
    verdict: str | None
    verdicts: int
    seconds: float
    struck: bool
    recovery_s: float | None
    stuck: int


def main() -> None:
    """Run the nights, log each, and write the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no night after that")
    parser.add_argument("--faults", nargs="*", choices=sorted(FAULTS), help="only these faults, in turn")
    parser.add_argument("--no-nightly", action="store_true", help="leave out the one long night")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: list[Row] = []
    found: dict[str, Any] = {}
    until = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, LocalLine(Path(folder)) as line:
        for number, name in enumerate(script(args.nights, args.faults or sorted(FAULTS)), start=1):
            if time.monotonic() > until:
                break
            long = number == (args.nights + 1) // 2 and not args.no_nightly
            rows.append(
                night(
                    line, number, FAULTS["nothing" if long else name], timeout_s=LONG_TIMEOUT_S if long else TIMEOUT_S
                )
            )
            log(f"{rows[-1]}")
            found = summary(rows, line.history())
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            line.roll_back()
    last = {name: found[name] for name in ("nights", "lost", "twice", "stuck", "recovery_seconds_max")}
    print(json.dumps(last) if args.json else json.dumps(found, indent=1))


def script(nights: int, names: list[str]) -> list[str]:
    """Return the fault of each night: all equally often, in a seeded order."""
    rng = random.Random(7)
    drawn: list[str] = []
    while len(drawn) < nights:
        drawn += rng.sample(names, k=len(names))
    return drawn[:nights]


def night(line: LocalLine, number: int, fault: Fault, *, timeout_s: float) -> Row:
    """Run one night, from its problems to its verdict and the end of all of its runs."""
    line.add_problems(number, long=timeout_s == LONG_TIMEOUT_S)
    before, began = len(verdicts(line.history())), time.monotonic()
    struck: float | None = None
    recovered: float | None = None
    line.start_night()
    while time.monotonic() - began < timeout_s:
        if struck is None and fault.is_due(line):
            struck = time.monotonic()
            fault.strike(line)
        over = len(verdicts(line.history())) > before
        if struck is not None and recovered is None and (over or line.is_whole()):
            recovered = time.monotonic()
        if over and not line.unfinished_runs():
            break
        time.sleep(1.0)
    fresh = verdicts(line.history())[before:]
    return Row(
        number=number,
        fault=fault.name,
        verdict=str(fresh[0].kind) if fresh else None,
        verdicts=len(fresh),
        seconds=round(time.monotonic() - began, 1),
        struck=struck is not None,
        recovery_s=round(recovered - struck, 1) if struck and recovered and fault.name != "nothing" else None,
        stuck=len(line.unfinished_runs()),
    )


def verdicts(history: tuple[Event, ...]) -> list[Event]:
    """Return the verdicts of nights, in order."""
    return [event for event in history if event.kind in VERDICTS]


def summary(rows: list[Row], history: tuple[Event, ...]) -> dict[str, Any]:
    """Return the totals, and the recovery times of each fault."""
    published = Counter(event.detail["data_digest"] for event in history if event.kind == "published")
    took = defaultdict(list)
    for row in rows:
        if row.recovery_s is not None:
            took[row.fault].append(row.recovery_s)
    quiet = [row.seconds for row in rows if row.fault == "nothing"]
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "nights": len(rows),
        "lost": sum(row.verdict is None for row in rows),
        "twice": sum(row.verdicts > 1 for row in rows) + sum(count > 1 for count in published.values()),
        "stuck": sum(row.stuck for row in rows),
        "struck": sum(row.struck and row.fault != "nothing" for row in rows),
        "recovery_seconds_max": max((s for each in took.values() for s in each), default=None),
        "undisturbed_seconds_median": median(quiet) if quiet else None,
        "recovery_seconds": {
            name: {"median": median(each), "worst": max(each), "n": len(each)} for name, each in took.items()
        },
        "verdicts": dict(Counter(str(row.verdict) for row in rows)),
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
