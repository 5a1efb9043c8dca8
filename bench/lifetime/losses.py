"""How often a line serves a version that lost more than the margin, with `gate.loss_error: line`.

One guarded suite of 700 fixed items, of which two samples of one model differ on 10 %, and the margin of three points.
Every night a candidate is looked at until it is decided, at the level of the attempt, and becomes the champion if it
passes. All other guards are taken to pass, which can only make a loss more frequent. Scores are expected shares of
right answers; the record is 16 samples an item, and starts with those of the first champion.

    no change       every candidate equals the record
    small gains     one in ten gains a point on the champion, the others equal it
    creep           every candidate loses 0.2 points of the champion's score
    walk            the score of the candidate is the champion's plus normal noise of half a point
    0.9 margins     every candidate is 0.9 margins below the record, whatever was published before
    1.01 margins    every candidate is 1.01 margins below the record, whatever was published before
    adversary       chooses its loss from all past outcomes: half a margin at first, a twentieth more after a night that published, a
                    fiftieth less after one that did not, at most 1.01 margins

    1.01 margins, half repeated; all repeated     the same, but that share of the answers of every later look are copies of the first look's:
                    looks that are not independent, which the promise does not cover

`any_skill_lost` is the share of lines on which some champion was more than the margin below the record;
`any_lost_of_true_best` the same against the best true score that ever served, which nobody knows and nothing promises.
`unchanged_passes` is for nights with several suites at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.lifetime.improvements import interval
from everlearn.gate.guard import LEAST_EVIDENCE_OF_GAIN, is_within, is_worse
from everlearn.gate.lifetime_error import loss_level
from everlearn.gate.loss_evidence import LossEvidence
from everlearn.settings import GateSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]
    Candidate = Callable[[np.random.Generator, Floats, Booleans | None], Floats]

SETTINGS = GateSettings(loss_error="line")
SHARES = np.array([0.0, 0.05, 0.3, 0.7, 0.95, 1.0])
SIZES = np.array([60, 60, 40, 80, 140, 320])
ITEMS, MARGIN, BLOCK = int(SIZES.sum()), 0.03, 500
LOSES, GAINS = SHARES > 0.1, SHARES < 0.9
"""Classes of items on which a worse candidate loses, and a better one gains, all by the same amount."""


class Adversary:
    """Candidates whose loss in margins follows from which nights of their line have published."""

    def __call__(self, _: np.random.Generator, champion: Floats, published: Booleans | None) -> Floats:
        """Return the next scores; `published` is None in the first night."""
        if published is None:
            self._margins = np.full_like(champion, 0.5)
        else:
            self._margins = np.clip(self._margins + np.where(published, 0.05, -0.02), 0, 1.01)
        return -MARGIN * self._margins


SCENARIOS: dict[str, Candidate] = {
    "no change": lambda _, champion, __: np.zeros_like(champion),
    "small gains": lambda rng, champion, _: champion + 0.01 * (rng.random(champion.shape) < 0.1),
    "creep": lambda _, champion, __: champion - 0.002,
    "walk": lambda rng, champion, _: champion + rng.normal(0, 0.005, champion.shape),
    "0.9 margins": lambda _, champion, __: np.full_like(champion, -0.9 * MARGIN),
    "1.01 margins": lambda _, champion, __: np.full_like(champion, -1.01 * MARGIN),
    "adversary": Adversary(),
}
"""The score of a candidate, as its distance from the record, by that of the champion and by whether the night before published."""
REPEATED = {"1.01 margins, half repeated": ("1.01 margins", 0.5), "1.01 margins, all repeated": ("1.01 margins", 1.0)}
"""Scenarios whose later looks repeat that share of the answers of the first one."""
SAID = {
    "no change": "equals the record",
    "small gains": "gains a point in one night of ten",
    "creep": "loses 0.2 points of the champion",
    "walk": "walks by half a point from the champion",
    "0.9 margins": "is 0.9 margins below the record",
    "1.01 margins": "is 1.01 margins below the record",
    "adversary": "loses more after each published night, less after others (adversary)",
    "1.01 margins, half repeated": "is 1.01 margins below the record, half of the answers repeated",
    "1.01 margins, all repeated": "is 1.01 margins below the record, all answers repeated",
}
"""What the candidate of a scenario does."""
DEPENDENT_LINES = 1000
"""Lines of these: their shares are far from small."""


class Suite:
    """A suite of about so many items with its record: groups of items with equal shares, true and recorded."""

    def __init__(self, rng: np.random.Generator, *, items: int = ITEMS, margin: float = MARGIN) -> None:
        samples, self.margin = SETTINGS.record_samples, margin
        self.class_sizes = np.maximum(1, np.round(SIZES * items / ITEMS).astype(int))
        self.items = int(self.class_sizes.sum())
        classes = np.repeat(np.arange(len(SHARES)), self.class_sizes)
        right = rng.binomial(samples, SHARES[classes])
        groups, sizes = np.unique(classes * (samples + 1) + right, return_counts=True)
        self.classes, self.recorded = groups // (samples + 1), groups % (samples + 1) / samples
        self.sizes = sizes
        self.holder = float((self.class_sizes * SHARES).sum() - (sizes * self.recorded).sum()) / self.items
        """Score of the version that the record is of, as its distance from the record."""
        noise = (self.recorded * (1 - self.recorded) * sizes).sum() / self.items
        self.variance = max(SETTINGS.discordance / 2, float(noise) * (1 + 1 / samples))

    def evidence(self) -> LossEvidence:
        """Return the evidence before the first look."""
        return LossEvidence(self.recorded, sizes=self.sizes.astype(float), margin=self.margin, variance=self.variance)

    def answers(
        self, rng: np.random.Generator, score: Floats, *, first: Floats | None = None, repeated: float = 0.0
    ) -> Floats:
        """Return a look at candidates with this distance from the record: right answers, (lines, groups).

        The share `repeated` of the answers are those of the look `first`.
        """
        change = (score - self.holder)[:, None] * self.items
        shares = SHARES[self.classes] + np.where(
            change < 0,
            change * LOSES[self.classes] / self.class_sizes[LOSES].sum(),
            change * GAINS[self.classes] / self.class_sizes[GAINS].sum(),
        )
        shares = np.clip(shares, 0, 1)
        if first is None or not repeated:
            return np.asarray(rng.binomial(self.sizes, shares), dtype=float)
        kept, wrong = (rng.binomial(count.astype(int), repeated) for count in (first, self.sizes - first))
        return np.asarray(kept + rng.binomial(self.sizes - kept - wrong, shares), dtype=float)


def judge(
    rng: np.random.Generator, suite: Suite, score: Floats, *, level: float, guards: int = 1, repeated: float = 0.0
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.bool_]]:
    """Look at candidates until they are decided. Return which pass, after how many looks, and which are shown to be better."""
    evidence = suite.evidence()
    gain = LossEvidence(
        1 - suite.recorded, sizes=suite.sizes.astype(float), margin=suite.margin, variance=suite.variance
    )
    open_lines = np.ones(score.shape, dtype=bool)
    passed, better, looks = ~open_lines, ~open_lines, np.zeros(score.shape)
    first: Floats | None = None
    for left in reversed(range(SETTINGS.most_looks)):
        right = suite.answers(rng, score, first=first, repeated=repeated)
        first = right if first is None else first
        evidence.add(right)
        gain.add(suite.sizes - right)
        looks += open_lines
        within = open_lines & is_within(evidence, level=level)
        passed |= within
        better |= within & (gain.log_worse >= np.log(LEAST_EVIDENCE_OF_GAIN))
        open_lines &= ~within & ~is_worse(evidence, guards=guards, alpha=SETTINGS.alpha, level=level, looks=left)
        if not open_lines.any():
            break
    return passed, looks, better


def simulate(candidate: Candidate, *, lines: int, nights: int, seed: int = 11, repeated: float = 0.0) -> dict[str, Any]:
    """Return what happens in one scenario."""
    lost = lost_of_best = 0
    published = looks = 0.0
    blocks = -(-lines // BLOCK)
    for block in range(blocks):
        rng = np.random.default_rng([seed, block])
        suite = Suite(rng)
        size = min(BLOCK, lines - block * BLOCK)
        champion = np.full(size, suite.holder)
        record, best = np.zeros(size), champion.copy()
        is_lost = champion < -MARGIN
        lost_best = np.zeros(size, dtype=bool)
        passed: Booleans | None = None
        for night in range(1, nights + 1):
            score = candidate(rng, champion, passed)
            level = loss_level(night, alpha=SETTINGS.alpha)
            passed, looked, better = judge(rng, suite, score, level=level, repeated=repeated)
            champion = np.where(passed, score, champion)
            published, looks = published + float(passed.sum()), looks + float(looked.sum())
            best = np.maximum(best, record + champion)
            is_lost |= champion < -MARGIN - 1e-12
            lost_best |= record + champion < best - MARGIN
            luck = rng.normal(0, np.sqrt(suite.variance / ITEMS / SETTINGS.record_samples), size)
            renewed = better & (champion + luck > 0)
            record = np.where(renewed, record + champion + luck, record)
            champion = np.where(renewed, -luck, champion)
        lost, lost_of_best = lost + int(is_lost.sum()), lost_of_best + int(lost_best.sum())
    return {
        "lines": lines,
        "any_skill_lost": round(lost / lines, 4),
        "any_skill_lost_interval": [round(each, 4) for each in interval(lost, lines)],
        "any_lost_of_true_best": round(lost_of_best / lines, 4),
        "published": round(published / lines / nights, 3),
        "looks": round(looks / lines / nights, 2),
    }


def unchanged(*, suites: int, night: int, tries: int, seed: int = 12) -> dict[str, Any]:
    """Return how often a candidate that equals the record on every suite passes all of them, and its answers an item."""
    rng, level = np.random.default_rng([seed, suites]), loss_level(night, alpha=SETTINGS.alpha)
    passed, looks = np.ones(tries, dtype=bool), 0.0
    for _ in range(suites):
        good, looked, _ = judge(rng, Suite(rng), np.zeros(tries), level=level, guards=suites)
        passed, looks = passed & good, looks + float(looked.mean())
    hits = int(passed.sum())
    return {
        "suites": suites,
        "unchanged_passes": round(hits / tries, 4),
        "interval": [round(each, 4) for each in interval(hits, tries)],
        "items_ratio": round(looks / suites, 2),
    }


def simulate_all(*, lines: int, nights: int) -> dict[str, Any]:
    """Return what happens in each scenario, and how often an unchanged model passes."""
    return {
        "scenarios": {name: simulate(candidate, lines=lines, nights=nights) for name, candidate in SCENARIOS.items()},
        "dependent": {
            name: simulate(SCENARIOS[like], lines=min(lines, DEPENDENT_LINES), nights=nights, repeated=repeated)
            for name, (like, repeated) in REPEATED.items()
        },
        "unchanged": [unchanged(suites=suites, night=300, tries=lines) for suites in (1, 3, 6, 10, 30)],
    }


def table_of(found: dict[str, Any]) -> str:
    """Return the results as tables in markdown, those of `many_suites` among them."""
    shown = [
        "| every night the candidate … | lines that lost the margin | … of the true best | nights that publish | answers an item |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    shown += [
        f"| {SAID[name]} | {_lost(row)} | {row['any_lost_of_true_best']:.4f} | {row['published']:.1%} | {row['looks']} |"
        for name, row in (found["scenarios"] | found["dependent"]).items()
    ]
    many = found["many_suites"]
    shown += [
        "",
        "| suites that are added and thinned | items at the end | lines that lost the margin of one | equal to the record: passes all |",
        "| ---: | ---: | ---: | ---: |",
        f"| {many['suites']} | {many['items']} | {_lost(many)} | {many['unchanged_passes'] or 0:.4f} |",
        "",
        "| suites, candidate equal to the record, night 300 | passes all | answers an item |",
        "| ---: | ---: | ---: |",
    ]
    for row in found["unchanged"]:
        low, high = row["interval"]
        passes = f"{row['unchanged_passes']:.3f} ({low:.3f} to {high:.3f})"
        shown.append(f"| {row['suites']} | {passes} | {row['items_ratio']} |")
    return "\n".join(shown)


def _lost(row: dict[str, Any]) -> str:
    low, high = row["any_skill_lost_interval"]
    return f"{row['any_skill_lost']:.4f} ({low:.4f} to {high:.4f})"
