"""Measure speed and accuracy of the verifier on answers like those of a model in training.

    python -m bench.verdicts [--answers 2000] [--rivals 60] [--json]

All in one run; compared verifiers alternate, so that the load of the machine affects them equally:

    rate      verdicts of `Integration.verify` a second of one core's time (and of the clock, which counts what else the
              machine does): groups of 8 different answers a problem, problems and answers fresh in every round, sums
              of 1 to 12 terms; the first round begins with nothing remembered, the others with the terms of those
              before, as a training does
    pool      the same by the clock through a `VerifierPool` of one and of two workers, and what a killed and a stopped
              worker cost
    rivals    the time of one answer beside math-verify and SymPy's `simplify`, on a part of the answers, since they
              are slow, and not on malformed ones, of which LaTeX reads some; they are killed at a limit of 20 seconds
    truth     every verdict of the first round against computer algebra at 50 digits, see bench/answers.py

Writes docs/verdicts.json. Goals: 8,000 verdicts a second, and no wrong answer accepted. Leaves out: answers of other
families than the default ones (bench/textbook.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from bench.answers import GROUP, AnswerCase, draw, is_right
from bench.rivals import WAYS, Rival
from everlearn.domains.integration.domain import Integration
from everlearn.domains.pool import VerifierPool
from everlearn.problem import Problem, Ruling

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path("docs/verdicts.json")
ROUNDS = 7
LIMIT_S = 20.0
STOPPED_S = 0.05


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": median(values), "least": min(values), "most": max(values)}


def measure_rate(rounds: Sequence[Sequence[AnswerCase]]) -> dict[str, Any]:
    """Return verdicts per CPU second, per wall-clock second, and per wall-clock second with pools, by round."""
    domain = Integration()
    found: dict[str, list[float]] = {"one core": [], "by the clock": [], "1 worker": [], "2 workers": []}
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(VerifierPool("integration", workers=int(name[0])))
            for name in ("1 worker", "2 workers")
        }
        for cases in rounds:
            pairs = [(asked(each.statement), each.answer) for each in cases]
            started, worked = time.perf_counter(), time.process_time()
            for problem, answer in pairs:
                domain.verify(problem, answer)
            found["one core"].append(len(pairs) / (time.process_time() - worked))
            found["by the clock"].append(len(pairs) / (time.perf_counter() - started))
            for name, pool in pools.items():
                started = time.perf_counter()
                pool.verify_many(pairs)
                found[name].append(len(pairs) / (time.perf_counter() - started))
    return {name: spread(rates) | {"first": rates[0], "rounds": rates} for name, rates in found.items()}


def measure_losses(cases: Sequence[AnswerCase], *, times: int) -> dict[str, Any]:
    """Milliseconds that a batch takes longer when its worker is killed, or stopped and then killed at its limit."""
    pairs = [(asked(each.statement), each.answer) for each in cases]
    ways = {"killed": (signal.SIGKILL, 0.0), "stopped, beyond its limit": (signal.SIGSTOP, 4 * STOPPED_S)}
    lost: dict[str, list[float]] = {way: [] for way in ways}
    started = time.perf_counter()
    with VerifierPool("integration", timeout_s=STOPPED_S) as pool:
        start_up = 1000 * (time.perf_counter() - started)
        for _ in range(times):
            for way, (how, limit) in ways.items():
                pool._workers[-1].ready()  # noqa: SLF001 (the spare has loaded, as it has between two bad answers)
                pool.verify_many(pairs)
                started = time.perf_counter()
                pool.verify_many(pairs)
                usual = time.perf_counter() - started
                os.kill(pool.pids[0] or 0, how)
                started = time.perf_counter()
                pool.verify_many(pairs)
                lost[way].append(1000 * (time.perf_counter() - started - usual - limit))
    return {way: spread(each) | {"all": each} for way, each in lost.items()} | {"a start-up of two": start_up}


def measure_rivals(judged: Sequence[tuple[AnswerCase, bool]]) -> dict[str, Any]:
    """Seconds of one answer and the verdicts of each way, answer by answer in turns."""
    domain = Integration()
    seconds: dict[str, list[float]] = {way: [] for way in ("ours", *WAYS)}
    counts: dict[str, Counter[str]] = {way: Counter() for way in seconds}
    with ExitStack() as stack:
        rivals = [stack.enter_context(Rival(way, limit_s=LIMIT_S)) for way in WAYS]
        for number, (each, right) in enumerate(judged, 1):
            started = time.perf_counter()
            verdict = domain.verify(asked(each.statement), each.answer)
            seconds["ours"].append(time.perf_counter() - started)
            counts["ours"][outcome(verdict.ruling, right=right)] += 1
            for rival in rivals:
                accepted, took = rival.judge(each.statement, each.answer)
                seconds[rival.way].append(took)
                counts[rival.way][outcome(ruling_of(accepted), right=right)] += 1
            print(f"rivals: {number} of {len(judged)}", file=sys.stderr)
    found: dict[str, Any] = {"answers": len(judged), "limit_s": LIMIT_S}
    for way, each_s in seconds.items():
        at = {"median_s": median(each_s), "p99_s": quantiles(each_s, n=100, method="inclusive")[98]}
        ratios = {f"ratio_{name[:-2]}": value / found["ours"][name] for name, value in at.items() if way != "ours"}
        found[way] = at | ratios | {"outcomes": dict(counts[way])}
    return found


def asked(statement: str) -> Problem:
    """Return the problem of a statement."""
    return Problem(id="", domain=Integration.name, statement=statement)


def ruling_of(accepted: bool | None) -> Ruling:  # noqa: FBT001
    """Return the ruling of an alternative verifier."""
    if accepted is None:
        return Ruling.UNDECIDED
    return Ruling.CORRECT if accepted else Ruling.WRONG


def outcome(ruling: Ruling, *, right: bool) -> str:
    """Return the column of the table."""
    if ruling is Ruling.UNDECIDED:
        return "undecided"
    if ruling is Ruling.UNREADABLE:
        return "unreadable"
    if right:
        return "right accepts" if ruling is Ruling.CORRECT else "wrong rejects"
    return "wrong accepts" if ruling is Ruling.CORRECT else "right rejects"


def judge(cases: Sequence[AnswerCase], truth: Sequence[bool]) -> dict[str, Counter[str]]:
    """Count the outcomes for each kind of answer and for all."""
    domain = Integration()
    table: dict[str, Counter[str]] = {"all": Counter()}
    for each, right in zip(cases, truth, strict=True):
        column = outcome(domain.verify(asked(each.statement), each.answer).ruling, right=right)
        table["all"][column] += 1
        table.setdefault(each.kind, Counter())[column] += 1
        if column not in ("right accepts", "right rejects", "unreadable"):
            print(f"{column}: {each.answer!r} for {each.statement!r}", file=sys.stderr)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write, and print the summary last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=2000)
    parser.add_argument("--rivals", type=int, default=60, help="answers that the slow rivals judge, too")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    options = parser.parse_args(arguments)
    rounds = [draw(count=options.answers, seed=seed) for seed in range(ROUNDS)]
    rates = measure_rate(rounds)
    truth = [is_right(each) for each in rounds[0]]
    table = judge(rounds[0], truth)
    found: dict[str, Any] = {
        "verdicts_per_second": rates,
        "lost_ms": measure_losses(rounds[1][:GROUP], times=ROUNDS),
        "outcomes": {kind: dict(counts) for kind, counts in table.items()},
    }
    if options.rivals:
        readable = [(each, right) for each, right in zip(rounds[0], truth, strict=True) if each.kind != "malformed"]
        found["rivals"] = measure_rivals(readable[:: max(1, len(readable) // options.rivals)][: options.rivals])
    summary = {
        "verdicts_per_second": rates["one core"]["median"],
        "wrong_accepts": table["all"]["wrong accepts"],
        "wrong_rejects": table["all"]["wrong rejects"],
        "undecided": table["all"]["undecided"],
        "ratio_math_verify": found["rivals"]["math_verify"]["ratio_median"] if options.rivals else None,
    }
    machine = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "answers": options.answers,
    }
    options.out.write_text(json.dumps(machine | summary | {"measured": found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    if options.json:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
