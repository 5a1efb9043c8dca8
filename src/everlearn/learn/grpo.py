"""Group-relative policy optimization, as three small functions.

Shao et al. 2024 (arXiv 2402.03300) with the changes that later work found to matter: no division by the group's
standard deviation (Liu et al. 2025, Dr. GRPO, arXiv 2503.20783), one global token-level denominator and an asymmetric
clip (Yu et al. 2025, DAPO, arXiv 2503.14476), importance weights between sampler and trainer truncated (Yao et al.
2025, "Your efficient RL framework secretly brings you off-policy RL training"), and the k3 estimate of the divergence
from the parent (Schulman 2020, "Approximating KL divergence").
"""

from __future__ import annotations

import torch


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """(groups, answers) -> same: each reward less its group's mean."""
    return rewards - rewards.mean(dim=1, keepdim=True)


def policy_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    sampler: torch.Tensor,
    advantage: torch.Tensor,
    *,
    mask: torch.Tensor,
    clip_low: float,
    clip_high: float,
    truncate: float,
) -> torch.Tensor:
    """The clipped surrogate, summed over tokens; the caller divides by the step's number of tokens.

    `new`, `old` and `sampler` are log-probabilities (answers, tokens) under the weights being trained, those at the
    start of the step, and the decoder's; `advantage` is (answers,).
    """
    ratio = torch.exp(new - old)
    gain = advantage[:, None]
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain)
    weight = torch.exp(old - sampler).clamp(max=truncate).detach()
    return -(surrogate * weight * mask).sum()


def divergence(new: torch.Tensor, parent: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
    """The k3 estimate of KL(policy || parent), summed over tokens."""
    gap = parent - new
    return ((torch.exp(gap) - gap - 1) * mask).sum()
