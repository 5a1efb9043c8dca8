"""Vital signs of a policy in training, and what stops a training that has lost its way.

A training stops by itself when log-probabilities are no numbers any more, when the policy is far from where it
started, when it says the same whatever it is asked although it is not right, or when its answers do not end any more.
What is left then is the newest adapter whose own answers still looked well, and the gate judges that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from everlearn.training.models.llama import Model, token_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.settings import LearnSettings
    from everlearn.training.rollouts import Group

LOOKED_AT = 4
"""Groups of a step whose log-probabilities are computed under the start, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the answers of one step say of the weights that gave them.

    `kl` (divergence from the start) and `entropy` are estimates from the sampled tokens, in nats a token; `length` is
    the mean in tokens; `unended` and `right` are shares of the answers.
    """

    kl: float
    entropy: float
    length: float
    unended: float
    right: float


def look(groups: Sequence[Group], *, start: Model, temperature: float) -> Vitals:
    """The vital signs of the policy that sampled `groups`; `start` is the one with which its training began."""
    rows = [row for group in groups for row in group.completions]
    tokens = sum(len(row.ids) for row in rows)
    return Vitals(
        kl=_divergence(groups[:LOOKED_AT], start=start, temperature=temperature),
        entropy=-sum(map(sum, (row.logprobs for row in rows))) / tokens,
        length=tokens / len(rows),
        unended=sum(not row.finished for row in rows) / len(rows),
        right=sum(group.passed for group in groups) / len(rows),
    )


@torch.no_grad()
def _divergence(groups: Sequence[Group], *, start: Model, temperature: float) -> float:
    """The mean of log policy - log start over sampled tokens: what it estimates is never negative, it may be, a little."""
    rows = [row for group in groups for row in group.completions]
    before, mask = token_logprobs(
        start, [group.prompt for group in groups], [row.ids for row in rows], temperature=temperature
    )
    now = torch.tensor([score for row in rows for score in row.logprobs])
    return float((now - before[mask]).mean())


def alarm(vitals: Vitals, *, first: Vitals, settings: LearnSettings) -> str | None:
    """Which guard fires, in words, or None. `first` are the vital signs at the start of the training."""
    if not (math.isfinite(vitals.kl) and math.isfinite(vitals.entropy)):
        return "log-probabilities are no numbers any more"
    if vitals.kl > settings.max_kl:
        return f"the policy is {vitals.kl:.2f} nats a token away from its start; max_kl is {settings.max_kl:g}"
    if vitals.entropy < settings.min_entropy and vitals.right < 0.5:
        return (
            f"entropy fell to {vitals.entropy:.4f} nats a token with {vitals.right:.0%} right; "
            f"min_entropy is {settings.min_entropy:g}"
        )
    if vitals.unended > first.unended + settings.max_unended:
        return (
            f"{vitals.unended:.0%} of the answers do not end, {first.unended:.0%} at the start; "
            f"max_unended is {settings.max_unended:g}"
        )
    return None
