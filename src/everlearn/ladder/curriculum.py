"""Which rungs to train on next: where the measured pass rate is strictly between none and all.

Pass rates are kept by *size class* (what the domain says is comparable), as counts that forget: each class's rate is
measured on the rollouts of the last steps. A rung is drawn in proportion to sqrt(p (1 - p)), the spread of the reward
in its class; the first class that is not solved yet has a floor, so that the frontier is always tried, and the rungs
of mastered classes share a fixed part, so that nothing is forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

MEMORY = 0.7
SOLVED, UNSOLVED = 0.9, 0.1


@dataclass(slots=True, kw_only=True)
class Curriculum:
    """State of the schedule: `seen` holds discounted (rollouts, passes) by class, `used` how often a rung was drawn."""

    classes: dict[int, list[str]]
    replay: float
    frontier: float
    uniform: bool = False
    seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def rate(self, size: int) -> float:
        """The measured pass rate of a class; with no measurement, that it is unsolved."""
        rollouts, passes = self.seen.get(size, (0.0, 0.0))
        return passes / rollouts if rollouts else 0.0

    def weights(self) -> dict[int, float]:
        """How much of the next step each class gets; sums to one."""
        rungs = {size: len(self.classes[size]) for size in sorted(self.classes)}
        spread = {size: count * math.sqrt(self.rate(size) * (1 - self.rate(size))) for size, count in rungs.items()}
        mastered = [size for size in spread if self.rate(size) >= SOLVED]
        open_classes = [size for size in spread if self.rate(size) < SOLVED]
        first = next((size for size in open_classes if self.rate(size) < UNSOLVED), None)
        total = sum(spread[size] for size in open_classes)
        share = {size: spread[size] / total if total else 0.0 for size in open_classes}
        if first is not None:
            floor = self.frontier if total else 1.0
            share = {size: (1 - floor) * part for size, part in share.items()}
            share[first] += floor
        kept = self.replay if open_classes else 1.0
        kept = kept if mastered else 0.0
        weights = {size: (1 - kept) * part for size, part in share.items()}
        easy = sum(rungs[size] for size in mastered)
        return weights | {size: kept * rungs[size] / easy for size in mastered}

    def choose(self, rng: random.Random, *, count: int) -> list[str]:
        """`count` different rungs (fewer if there are not so many), the least used of a class first."""
        if self.uniform:
            every = [digest for digests in self.classes.values() for digest in digests]
            return rng.sample(every, min(count, len(every)))
        weights = self.weights()
        left = {size: sorted(digests, key=lambda digest: (self.used.get(digest, 0), rng.random())) for size, digests in
                sorted(self.classes.items())}  # fmt: skip
        chosen: list[str] = []
        while len(chosen) < count and any(left[size] and weights.get(size) for size in left):
            able = [size for size in left if left[size] and weights.get(size)]
            size = rng.choices(able, [weights[size] for size in able])[0]
            chosen.append(left[size].pop(0))
        for digest in chosen:
            self.used[digest] = self.used.get(digest, 0) + 1
        return chosen

    def count(self, size: int, *, rollouts: int, passed: int) -> None:
        """Add to what is known of a class, without fading: for the rates that a ladder brings."""
        if rollouts:
            before = self.seen.get(size, (0.0, 0.0))
            self.seen[size] = (before[0] + rollouts, before[1] + passed)

    def learn(self, outcomes: dict[int, tuple[int, int]]) -> None:
        """Take in (rollouts, passes) by class; what was known before fades."""
        for size, (rollouts, passes) in outcomes.items():
            before = self.seen.get(size, (0.0, 0.0))
            self.seen[size] = (before[0] * MEMORY + rollouts, before[1] * MEMORY + passes)
