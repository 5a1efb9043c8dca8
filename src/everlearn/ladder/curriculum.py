"""Choose the rungs to train on next, mostly those whose pass rate is strictly between 0 and 1.

Pass rates are kept per *size class* (problems that the domain calls comparable) as exponentially discounted counts of
the latest rollouts. A rung is drawn in proportion to sqrt(p (1 - p)), the standard deviation of the reward in its
class. The easiest class that is still unsolved has a minimum share, so that the frontier is always sampled, and the
mastered classes share a fixed part (replay) against forgetting. Domains of a mixture have equal parts of a step, and
each of these rules holds within one. Within a class, the least used rungs are drawn; or, with `posterior`, those whose
own rollouts promise answers of both kinds: the pass rate p of each rung is drawn from its Beta posterior (Thompson
sampling), whose prior is the rate of the class, and those with the largest p (1 - p) are taken.

A rung may weigh more or less than one of another kind. Then it counts as so many rungs, and within a class the rungs of
equal weight are drawn in proportion to their sum.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from everlearn.domains.contract import PART_SIZES

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

DISCOUNT = 0.7
"""Factor by which earlier counts are multiplied when new outcomes arrive."""
FORGETTING = 0.98
"""Factor by which a rung's own counts shrink in each step: the policy changes meanwhile."""
PRIOR, EXTREMES = 1.0, (0.02, 0.98)
"""Rollouts that the rate of its class is worth in the posterior of a rung, and the limits of that rate there."""
SOLVED, UNSOLVED = 0.9, 0.1
"""Pass rates from which a class counts as mastered, and below which it counts as unsolved."""


@dataclass(slots=True, kw_only=True)
class Curriculum:
    """State of the schedule: discounted (rollouts, passes) per class in `seen`, number of draws per rung in `used`.

    `classes` maps a size to the digests of its rungs, `replay` is the share of mastered classes, `frontier` the minimum
    share of the first unsolved class; `uniform` draws all rungs with equal probability instead. `results` are the
    counts of single rungs, with the number of `updates` at which they were made. `weight` is that of rungs which do not
    weigh 1.
    """

    classes: dict[int, list[str]]
    replay: float
    frontier: float
    uniform: bool = False
    posterior: bool = False
    weight: Mapping[str, float] = field(default_factory=dict)
    seen: dict[int, tuple[float, float]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    results: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    updates: int = 0

    def rate(self, size: int) -> float:
        """Return the measured pass rate of a class; 0 if it has not been measured."""
        rollouts, passes = self.seen.get(size, (0.0, 0.0))
        return passes / rollouts if rollouts else 0.0

    def weights(self) -> dict[int, float]:
        """Return the share of the next step for each class; the shares sum to 1, equally over the domains of a mixture."""
        parts = sorted({size // PART_SIZES for size in self.classes})
        shares = [
            self._weights([size for size in sorted(self.classes) if size // PART_SIZES == part]) for part in parts
        ]
        return {size: share / len(parts) for part in shares for size, share in part.items()}

    def _weights(self, sizes: Sequence[int]) -> dict[int, float]:
        """Return the shares of the classes of one domain; they sum to 1."""
        rungs = {size: self._sum(self.classes[size]) for size in sizes}
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
        replay = self.replay if open_classes else 1.0
        replay = replay if mastered else 0.0
        weights = {size: (1 - replay) * part for size, part in share.items()}
        easy = sum(rungs[size] for size in mastered)
        return weights | {size: replay * rungs[size] / easy for size in mastered}

    def choose(self, rng: random.Random, *, count: int) -> list[str]:
        """Draw `count` distinct rungs (fewer if there are fewer), the least used or the most promising of a class first."""
        if self.uniform:
            every = [digest for digests in self.classes.values() for digest in digests]
            if not self.weight:
                return rng.sample(every, min(count, len(every)))
            return heapq.nlargest(count, every, key=lambda digest: rng.random() ** (1 / self.weight.get(digest, 1.0)))
        weights, left = dict[tuple[int, float], float](), dict[tuple[int, float], list[str]]()
        shares = self.weights()
        for size, digests in sorted(self.classes.items()):
            for weight in dict.fromkeys(self.weight.get(digest, 1.0) for digest in digests):
                equal = [digest for digest in digests if self.weight.get(digest, 1.0) == weight]
                weights[size, weight] = shares[size] * (self._sum(equal) / self._sum(digests))
                left[size, weight] = self._in_order(equal, size, rng=rng)
        chosen: list[str] = []
        while len(chosen) < count and any(left[each] and weights[each] for each in left):
            able = [each for each in left if left[each] and weights[each]]
            drawn = rng.choices(able, [weights[each] for each in able])[0]
            chosen.append(left[drawn].pop(0))
        for digest in chosen:
            self.used[digest] = self.used.get(digest, 0) + 1
        return chosen

    def _sum(self, digests: Sequence[str]) -> float:
        """Return what these rungs weigh together."""
        return sum(self.weight.get(digest, 1.0) for digest in digests)

    def _in_order(self, digests: list[str], size: int, *, rng: random.Random) -> list[str]:
        if not self.posterior:
            return sorted(digests, key=lambda digest: (self.used.get(digest, 0), rng.random()))
        return sorted(digests, key=lambda digest: -self._promise(digest, size, rng=rng))

    def _promise(self, digest: str, size: int, *, rng: random.Random) -> float:
        """Draw the variance of the rung's reward, p (1 - p), with p from its posterior."""
        rollouts, passes, at = self.results.get(digest, (0.0, 0.0, 0))
        kept, rate = FORGETTING ** (self.updates - at), min(max(self.rate(size), EXTREMES[0]), EXTREMES[1])
        drawn = rng.betavariate(PRIOR * rate + kept * passes, PRIOR * (1 - rate) + kept * (rollouts - passes))
        return drawn * (1 - drawn)

    def count(self, size: int, *, rollouts: int, passed: int, rung: str | None = None) -> None:
        """Add to the counts of a class without discounting them: for the pass rates measured while the ladder grew."""
        if rollouts:
            before = self.seen.get(size, (0.0, 0.0))
            self.seen[size] = (before[0] + rollouts, before[1] + passed)
            if rung is not None:
                self.results[rung] = (rollouts, passed, self.updates)

    def learn(
        self, outcomes: Mapping[int, tuple[int, int]], rungs: Mapping[str, tuple[int, int]] = MappingProxyType({})
    ) -> None:
        """Add (rollouts, passes) per class, and per rung, after discounting the earlier counts."""
        for size, (rollouts, passes) in outcomes.items():
            before = self.seen.get(size, (0.0, 0.0))
            self.seen[size] = (before[0] * DISCOUNT + rollouts, before[1] * DISCOUNT + passes)
        self.updates += 1
        for rung, (rollouts, passes) in rungs.items():
            earlier, passed, at = self.results.get(rung, (0.0, 0.0, 0))
            kept = FORGETTING ** (self.updates - at)
            self.results[rung] = (earlier * kept + rollouts, passed * kept + passes, self.updates)
