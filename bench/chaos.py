"""Nights on a bad machine: each is disturbed in another way, and each has to end once, and only once.

    python -m bench.chaos [--nights 50] [--minutes M] [--faults NAME …] [--no-nightly] [--json]

A SeaweedFS, a Prefect server on SQLite and `everlearn worker`, all real and all on this machine. A tiny night takes
sums of six terms from about 70 % to 90 % in some 20 s of work: real steps, a real gate. What is published is taken back
before the next night, so that each has the same to gain. The one in the middle is
one of the profile `nightly`.

    lost       nights without a verdict within ten minutes
    twice      nights with more than one verdict, or data that was published twice
    stuck      runs that are not over when the night is
    recovery   seconds from the fault until every process that the night needs is at work again

Writes docs/chaos.json. Leaves out: several machines (a worker that knows nothing of the one before stands for another
one), and S3 that is away for longer than a minute (how long a night waits is tested with a clock of its own).
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

from bench.disturbed import FAULTS, Fault, Site, say

if TYPE_CHECKING:
    from everlearn.registry.events import Event

OUT = Path("docs/chaos.json")
VERDICTS = {"published", "rejected", "insufficient"}
PATIENCE_S, LONG_S = 600.0, 7200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One night. `recovery_s` is None where nothing was disturbed, or the fault came too late."""

    number: int
    fault: str
    verdict: str | None
    seconds: float
    struck: bool
    recovery_s: float | None
    stuck: int


def main() -> None:
    """Run the nights, print a line each, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no night after that")
    parser.add_argument("--faults", nargs="*", choices=sorted(FAULTS), help="only these, in turn")
    parser.add_argument("--no-nightly", action="store_true", help="leave out the one long night")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows: list[Row] = []
    found: dict[str, Any] = {}
    until = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, Site(Path(folder)) as site:
        for number, name in enumerate(script(asked.nights, asked.faults or sorted(FAULTS)), start=1):
            if time.monotonic() > until:
                break
            long = number == (asked.nights + 1) // 2 and not asked.no_nightly
            rows.append(
                night(site, number, FAULTS["nothing" if long else name], patience_s=LONG_S if long else PATIENCE_S)
            )
            say(f"{rows[-1]}")
            found = summary(rows, site.history())
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            site.take_back()
    last = {name: found[name] for name in ("nights", "lost", "twice", "stuck", "recovery_seconds_max")}
    print(json.dumps(last) if asked.json else json.dumps(found, indent=1))


def script(nights: int, names: list[str]) -> list[str]:
    """Which fault disturbs which night: each as often as any other, in an order that is always the same."""
    rng = random.Random(7)
    drawn: list[str] = []
    while len(drawn) < nights:
        drawn += rng.sample(names, k=len(names))
    return drawn[:nights]


def night(site: Site, number: int, fault: Fault, *, patience_s: float) -> Row:
    """One night, from its shard to its verdict and the end of all of its runs."""
    site.hand_in(number, long=patience_s == LONG_S)
    before, began = len(verdicts(site.history())), time.monotonic()
    struck: float | None = None
    recovered: float | None = None
    site.begin()
    while time.monotonic() - began < patience_s:
        if struck is None and fault.is_due(site):
            struck = time.monotonic()
            fault.strike(site)
        over = len(verdicts(site.history())) > before
        if struck is not None and recovered is None and (over or site.is_whole()):
            recovered = time.monotonic()
        if over and not site.unended():
            break
        time.sleep(1.0)
    fresh = verdicts(site.history())[before:]
    return Row(
        number=number,
        fault=fault.name,
        verdict=str(fresh[0].kind) if fresh else None,
        seconds=round(time.monotonic() - began, 1),
        struck=struck is not None,
        recovery_s=round(recovered - struck, 1) if struck and recovered and fault.name != "nothing" else None,
        stuck=len(site.unended()),
    )


def verdicts(history: tuple[Event, ...]) -> list[Event]:
    """The nights that have ended, in their order."""
    return [event for event in history if event.kind in VERDICTS]


def summary(rows: list[Row], history: tuple[Event, ...]) -> dict[str, Any]:
    """The figures, and how long each kind of recovery took."""
    ends = Counter(event.cycle_key for event in verdicts(history))
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
        "twice": sum(count > 1 for count in ends.values()),
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
