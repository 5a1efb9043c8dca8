"""Error rates of the gate, by simulation through its own decision functions.

    python -m bench.gate_power [--nights 400] [--lines 600] [--json]

Four policies answer the same items: candidate, parent, base and best version. Each two differ on the same share of
items (`--discordance`), and the candidate is compared with the three others at once. Items are independent.

    unchanged       all four are equally good: how often the candidate passes, with 1, 3, 6 and 10 skill suites
    one suite lost  the same, but the candidate truly lost the stated margin on one suite
    own lost        the candidate lost half of tonight's 31 own problems, and gained 25 points on 169 generated ones
    own unchanged   the same, but the own problems are as before
    one line        twelve publications of a model that stays equally good: how often each passes; each differs from its
                    parent on that share of items, so that the distance from the base grows
    a falling line  the same, but each candidate is truly 0.5 points worse than its parent

In the first four a target improved beyond doubt, so that only the skills decide. Every share comes with its exact 95 %
interval. Writes docs/gate_power.json. Goals: an unchanged model passes in at least 80 % of the nights, one that lost in
at most 5 %. Leaves out: items that share a root, undecided answers, several targets.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.data.suites import SuiteKind
from everlearn.gate.best_versions import best_version
from everlearn.gate.decision import Against, Comparison, Decision, decide
from everlearn.gate.evidence import Changes, SuiteCounts
from everlearn.settings import GateSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Answers = NDArray[np.bool_]

OUT = Path("docs/gate_power.json")
ITEMS, SUITES, OWN, GENERATED = 700, (1, 3, 6, 10), 31, 169
LINES = (1, 3, 6)
SOLVED = 0.7
"""Share of items that every policy answers correctly in truth."""
BASE = "base"
PUBLICATIONS, FALLING, LOSS = 12, 16, 0.005
GATE = GateSettings()
BASELINES = (Against.PARENT, Against.BASE, Against.BEST)


def compared(suite: str, kind: SuiteKind, before: Answers, after: Answers, *, against: Against) -> Comparison:
    """Return the comparison of two policies; `before` and `after` say which items each answers correctly."""
    changes = Changes(won=int((after & ~before).sum()), lost=int((before & ~after).sum()), gains=())
    right = [int(side.sum()) for side in (before, after)]
    counts = SuiteCounts(
        n=len(before),
        items=float(len(before)),
        against_candidate=changes,
        against_baseline=changes,
        right_before=right[0],
        right_after=right[1],
        wrong_before=len(before) - right[0],
        wrong_after=len(before) - right[1],
        undecided=0,
    )
    return Comparison(suite=suite, kind=kind, against=against, parts=(counts,))


def policies(rng: np.random.Generator, shape: tuple[int, ...], *, discordance: float, n: int) -> Answers:
    """Return which items four equally good policies answer correctly: (4, *shape, n).

    On `2 * discordance` of the items each policy answers by chance, half of them correctly; the others are the same
    for all.
    """
    answers = np.zeros((4, *shape, n), dtype=bool)
    by_chance = round(2 * discordance * n)
    answers[..., :by_chance] = rng.random((4, *shape, by_chance)) < 0.5
    answers[..., by_chance : by_chance + round((SOLVED - discordance) * n)] = True
    return answers


def improved_target() -> list[Comparison]:
    """Return a target on which the candidate solves 20 of 31 items more than any other policy."""
    before, after = np.zeros(OWN, dtype=bool), np.arange(OWN) < 20
    return [compared("target", SuiteKind.TARGET, before, after, against=against) for against in BASELINES]


def nights(answers: Answers, *, candidates: Answers | None = None) -> Iterator[list[Comparison]]:
    """Yield the comparisons of the skill suites of each night; `answers`: (4, nights, suites, items)."""
    after = answers[0] if candidates is None else candidates
    for night in range(after.shape[0]):
        yield [
            compared(
                f"s{suite}", SuiteKind.SKILL, answers[1 + index, night, suite], after[night, suite], against=against
            )
            for index, against in enumerate(BASELINES)
            for suite in range(after.shape[1])
        ]


def unchanged(rng: np.random.Generator, *, count: int, suites: int, items: int, discordance: float) -> dict[str, Any]:
    """Return how often an unchanged candidate passes, and the margins that applied."""
    answers = policies(rng, (count, suites), discordance=discordance, n=items)
    decisions = [decide([*improved_target(), *night], settings=GATE) for night in nights(answers)]
    margins = {
        "together": median_margin(decisions, pooled=suites > 1),
        "alone": median_margin(decisions, pooled=False) if suites > 1 else None,
    }
    return passes(decisions) | {"suites": suites, "margins": margins}


def one_suite_lost(
    rng: np.random.Generator, *, count: int, suites: int, discordance: float, loss: float
) -> dict[str, Any]:
    """Return how often a candidate passes that truly lost `loss` on one suite."""
    answers = policies(rng, (count, suites), discordance=discordance, n=ITEMS)
    forgotten = np.all(answers, axis=0)[:, 0] & (rng.random((count, ITEMS)) < loss / (SOLVED - discordance))
    after = answers[0].copy()
    after[:, 0] &= ~forgotten
    decisions = [decide([*improved_target(), *night], settings=GATE) for night in nights(answers, candidates=after)]
    return passes(decisions) | {"suites": suites, "lost_points": round(100 * loss, 2)}


def own_items(rng: np.random.Generator, *, count: int, discordance: float, kept: float) -> dict[str, Any]:
    """Return how often a candidate passes that keeps this share of the own items and gains 25 points on generated ones.

    With three skill suites; half of the own items are right before.
    """
    decisions = []
    for night in nights(policies(rng, (count, 3), discordance=discordance, n=ITEMS)):
        own = rng.random(OWN) < 0.5
        own_after = own & (rng.random(OWN) < kept) if kept < 1 else redrawn(rng, own, discordance=discordance)
        fillers = rng.random(GENERATED) < 0.5
        rows = list(night)
        gained = fillers | (rng.random(GENERATED) < 0.5)
        for against in BASELINES:
            rows.append(compared("target", SuiteKind.TARGET, own, own_after, against=against))
            rows.append(compared("generated", SuiteKind.GENERATED, fillers, gained, against=against))
        decisions.append(decide(rows, settings=GATE))
    return passes(decisions)


def redrawn(
    rng: np.random.Generator, answers: Answers, *, discordance: float, solved: float = 0.5, lost: float = 0.0
) -> Answers:
    """Return the answers of a policy that differs on this share of items, and truly solves `lost` less than `solved`."""
    chance = rng.random(answers.shape)
    falls, rises = (discordance + lost) / 2 / solved, (discordance - lost) / 2 / (1 - solved)
    return np.where(answers, chance >= falls, chance < rises)


@dataclass
class Line:
    """A line of versions in simulation: `answers` of the base model and of each version by name."""

    answers: dict[str, Answers]
    solved: float = SOLVED

    @property
    def champion(self) -> str:
        """Name of the newest version, which is the base model at first."""
        return list(self.answers)[-1]

    def night(self, rng: np.random.Generator, *, discordance: float, lost: float) -> bool:
        """Judge a candidate that differs from the champion and truly loses `lost`. Return whether it was published."""
        candidate = redrawn(rng, self.answers[self.champion], discordance=discordance, solved=self.solved, lost=lost)
        rows = [row for suite in range(len(candidate)) for row in self._compared(suite, candidate[suite])]
        decision = decide([*improved_target(), *rows], settings=GATE)
        if decision.passed:
            self.answers[f"v{len(self.answers)}"] = candidate
            self.solved -= lost
        return decision.passed

    def _compared(self, suite: int, candidate: Answers) -> list[Comparison]:
        baselines = {Against.PARENT: self.champion}
        shares = {name: answers[suite].mean() for name, answers in self.answers.items() if name != BASE}
        best = best_version(shares, items=ITEMS)
        if best is not None:
            baselines[Against.BASE] = BASE
        if best not in (None, self.champion):
            baselines[Against.BEST] = best
        return [
            compared(f"s{suite}", SuiteKind.SKILL, self.answers[baseline][suite], candidate, against=against)
            for against, baseline in baselines.items()
        ]


def lines(
    rng: np.random.Generator, *, count: int, length: int, suites: int, discordance: float, lost: float
) -> dict[str, Any]:
    """Return what becomes of lines whose candidates each truly lose `lost`: by night, the share that passes."""
    drawn = [Line(answers={BASE: rng.random((suites, ITEMS)) < SOLVED}) for _ in range(count)]
    passed = np.array([[each.night(rng, discordance=discordance, lost=lost) for each in drawn] for _ in range(length)])
    return summary(passed, lost=lost) | {"suites": suites}


def summary(passed: NDArray[np.bool_], *, lost: float) -> dict[str, Any]:
    """Return by night how often lines pass, and what they lost in all; `passed`: (nights, lines)."""
    rates = [interval(int(night.sum()), passed.shape[1]) for night in passed]
    first = np.where(passed.all(axis=0), np.inf, passed.argmin(axis=0) + 1)
    return {
        "passes": min(rates, key=lambda rate: rate["share"]),
        "by_night": [rate["share"] for rate in rates],
        "first_refusal": float(np.median(first)),
        "lost_points": [round(100 * lost * float(total), 2) for total in passed.cumsum(axis=0).mean(axis=1)],
    }


def passes(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return how often the decisions are PASS, with all outcomes."""
    outcomes = Counter(str(decision.outcome) for decision in decisions)
    return interval(sum(decision.passed for decision in decisions), len(decisions)) | {"outcomes": outcomes}


def interval(count: int, n: int) -> dict[str, Any]:
    """Return a share with its exact 95 % confidence interval (Clopper and Pearson)."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci()
    return {"share": round(count / n, 4), "low": round(found.low, 4), "high": round(found.high, 4), "n": n}


def median_margin(decisions: Sequence[Decision], *, pooled: bool) -> float:
    """Return the margin in points that applied, the median over nights: of the suites together, or of each alone."""
    rows = [row for each in decisions for row in (each.pools if pooled else each.rows) if row.kind is SuiteKind.SKILL]
    return round(100 * float(np.median([row.margin for row in rows])), 2)


def measure(*, nights: int, count: int, discordance: float, seed: int) -> dict[str, Any]:
    """Return all figures; `nights` simulated for each share, and `count` lines."""
    rng = np.random.default_rng(seed)
    same = [unchanged(rng, suites=suites, items=ITEMS, count=nights, discordance=discordance) for suites in SUITES]
    lost = [
        one_suite_lost(
            rng,
            suites=found["suites"],
            loss=(found["margins"]["alone"] or found["margins"]["together"]) / 100,
            count=nights,
            discordance=discordance,
        )
        for found in same
    ]
    return {
        "unchanged": same,
        "unchanged_1319": unchanged(rng, count=nights, suites=3, items=1319, discordance=0.2),
        "one_suite_lost": lost,
        "own_lost": own_items(rng, kept=0.5, count=nights, discordance=discordance),
        "own_unchanged": own_items(rng, kept=1.0, count=nights, discordance=discordance),
        "lines": [
            lines(rng, suites=suites, length=PUBLICATIONS, lost=0.0, count=count, discordance=discordance)
            for suites in LINES
        ],
        "falling_lines": [
            lines(rng, suites=suites, length=FALLING, lost=LOSS, count=max(1, count // 3), discordance=discordance)
            for suites in LINES
        ],
    }


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the shares with goals: the worst case of each, with its interval."""
    worst = {
        "unchanged_passes": min(figures["unchanged"], key=lambda found: found["share"]),
        "unchanged_1319_passes": figures["unchanged_1319"],
        "one_suite_lost_passes": max(figures["one_suite_lost"], key=lambda found: found["share"]),
        "own_lost_passes": figures["own_lost"],
        "line_passes": min((found["passes"] for found in figures["lines"]), key=lambda rate: rate["share"]),
    }
    said = {name: found["share"] for name, found in worst.items()}
    said |= {f"{name}_interval": [found["low"], found["high"]] for name, found in worst.items()}
    falling = figures["falling_lines"]
    return said | {
        "falling_line_first_refusal": {found["suites"]: found["first_refusal"] for found in falling},
        "falling_line_lost_points": {found["suites"]: found["lost_points"][-1] for found in falling},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, write the figures, and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=400)
    parser.add_argument("--lines", type=int, default=600)
    parser.add_argument("--discordance", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--json", action="store_true", help="print only the shares with goals, as one line")
    args = parser.parse_args(arguments)
    started = time.perf_counter()
    figures = measure(nights=args.nights, count=args.lines, discordance=args.discordance, seed=args.seed)
    about = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "items": ITEMS,
        "discordance": args.discordance,
        "alpha": GATE.alpha,
        "seconds": round(time.perf_counter() - started, 1),
    }
    summarized = about | headline(figures)
    args.out.write_text(json.dumps(summarized | {"figures": figures}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summarized) if args.json else json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
