"""Guards: statistics of a step's rollouts, and the limits beyond which a training stops.

A training stops by itself when log-probabilities are not finite, when the policy is far from its start, when it
collapses (low entropy while most answers are wrong), or when its answers no longer end. It then returns to the newest
weights whose own answers passed all guards, and the gate judges those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from everlearn.training.engines import collectives
from everlearn.training.memory_plan import plan
from everlearn.training.models.llama import Model, token_logprobs
from everlearn.training.rollouts import batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.settings import LearnSettings
    from everlearn.training.rollouts import Group

KL_GROUPS = 4
"""Groups of a step from which the divergence is estimated: the others are not scored under the start's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatistics:
    """Statistics of one step's answers.

    `kl` (divergence from the start) and `entropy` are estimates from the sampled tokens, in nats a token; `length` is
    the mean in tokens; `unended` and `right` are shares of the answers.
    """

    kl: float
    entropy: float
    length: float
    unended: float
    right: float


def rollout_statistics(groups: Sequence[Group], *, start: Model, settings: LearnSettings) -> RolloutStatistics:
    """Return the statistics of `groups`, sampled with `settings.temperature`; `start` is the policy at step 0."""
    rows = [row for group in groups for row in group.completions]
    tokens = sum(len(row.ids) for row in rows)
    return RolloutStatistics(
        kl=_divergence(groups[:KL_GROUPS], start=start, settings=settings),
        entropy=-sum(map(sum, (row.logprobs for row in rows))) / tokens,
        length=tokens / len(rows),
        unended=sum(not row.finished for row in rows) / len(rows),
        right=sum(group.passed for group in groups) / len(rows),
    )


@torch.no_grad()
def _divergence(groups: Sequence[Group], *, start: Model, settings: LearnSettings) -> float:
    """Return the mean of log policy - log start over the sampled tokens, in batches as large as those of an update.

    Several processes share the groups. An unbiased estimate of a divergence that is never negative; the estimate itself
    may be slightly below 0.
    """
    lengths = [len(group.completions) * max(len(row.ids) for row in group.completions) for group in groups]
    prompt = max(len(group.prompt) for group in groups)
    cut = plan(start, longest=max(lengths), prompt=prompt, settings=settings)
    mine, gaps = collectives.share(range(len(groups))), dict[int, float]()
    for batch in batches([lengths[index] for index in mine], budget=cut.tokens):
        places = [mine[index] for index in sorted(batch)]
        chosen = [groups[place] for place in places]
        rows = [row for group in chosen for row in group.completions]
        prompts, ids = [group.prompt for group in chosen], [row.ids for row in rows]
        before, mask = token_logprobs(start, prompts, ids, temperature=settings.temperature)
        gap = torch.tensor([score for row in rows for score in row.logprobs]) - before[mask]
        counts = [sum(len(row.ids) for row in group.completions) for group in chosen]
        gaps |= zip(places, (float(part.sum()) for part in gap.split(counts)), strict=True)
    tokens = sum(len(row.ids) for group in groups for row in group.completions)
    return sum(collectives.gather([gaps[place] for place in mine])) / tokens


def triggered_guard(statistics: RolloutStatistics, *, first: RolloutStatistics, settings: LearnSettings) -> str | None:
    """Return the reason of the guard that is triggered, or None. `first` are the statistics of step 0."""
    if not (math.isfinite(statistics.kl) and math.isfinite(statistics.entropy)):
        return "non-finite log-probabilities"
    if statistics.kl > settings.max_kl:
        return f"the policy is {statistics.kl:.2f} nats a token away from its start; max_kl is {settings.max_kl:g}"
    if statistics.entropy < settings.min_entropy and statistics.right < 0.5:
        return (
            f"entropy fell to {statistics.entropy:.4f} nats a token with {statistics.right:.0%} right; "
            f"min_entropy is {settings.min_entropy:g}"
        )
    if statistics.unended > first.unended + settings.max_unended:
        return (
            f"{statistics.unended:.0%} of the answers do not end, {first.unended:.0%} at the start; "
            f"max_unended is {settings.max_unended:g}"
        )
    return None
