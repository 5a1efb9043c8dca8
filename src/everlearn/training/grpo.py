"""Group-relative policy optimization (GRPO), as small functions of log-probabilities and rewards.

Shao et al. 2024 (arXiv 2402.03300), with variants of later work, each a setting:

    grpo      each answer has the same weight, whatever its length (the original; with `scaled` advantages)
    dr_grpo   a token has the same weight in every step: sum / (answers * a constant length) (Liu et al. 2025, 2503.20783)
    dapo      a token has the same weight within its step, and the clip is asymmetric (Yu et al. 2025, 2503.14476)
    sequence  one importance ratio for each answer instead of each token, with `grpo` (GSPO, Zheng et al. 2025, 2507.18071)

Also the truncated importance weight between sampler and trainer (Yao et al. 2025, "Your efficient RL framework secretly
brings you off-policy RL training"), and the k3 estimate of the divergence from the parent (Schulman 2020,
"Approximating KL divergence"). Signs, clips and denominators are those of `trl`, which the tests compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from everlearn.settings import LearnSettings

EPSILON = 1e-4
"""Added to a group's standard deviation, as in trl."""


def advantages(rewards: torch.Tensor, *, scaled: bool = False) -> torch.Tensor:
    """(groups, answers) -> same: each reward minus its group's mean; if `scaled`, over its standard deviation."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + EPSILON) if scaled else centred


def token_weights(lengths: torch.Tensor, *, settings: LearnSettings, answers: int, tokens: int) -> torch.Tensor:
    """(answers of a batch,) -> (answers of a batch, 1): the weight of each of their tokens in the loss of the step.

    `answers` and `tokens` count the whole step, so that its loss is a plain sum however it is cut into batches.
    """
    if settings.loss == "grpo":
        return 1 / (answers * lengths.clamp(min=1)[:, None].float())
    denominator = tokens if settings.loss == "dapo" else answers * settings.loss_length
    return torch.full((len(lengths), 1), 1 / denominator)


def policy_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    sampler: torch.Tensor,
    advantage: torch.Tensor,
    *,
    mask: torch.Tensor,
    settings: LearnSettings,
) -> torch.Tensor:
    """(answers, tokens) -> same: the clipped surrogate loss of each token; 0 where masked.

    `new`, `old` and `sampler` are log-probabilities under the weights being trained, those at the start of the step,
    and the decoder's; `advantage` is (answers,).
    """
    gap = (new - old) * mask
    if settings.importance == "sequence":
        gap = gap.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    ratio, gain = torch.exp(gap), advantage[:, None]
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high) * gain)
    weight = torch.exp((old - sampler) * mask).clamp(max=settings.truncate).detach()
    return -(surrogate * weight * mask)


def divergence(new: torch.Tensor, old: torch.Tensor, parent: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
    """(answers, tokens) -> same: the k3 estimate of KL(policy || parent) at each token; 0 where masked.

    Multiplied by the importance ratio, which makes its gradient that of the divergence itself (DeepSeek-V3.2, 2025,
    arXiv 2512.02556): without it the estimate is unbiased on policy, but its gradient is not.
    """
    gap = (parent - new) * mask
    return (torch.exp(gap) - gap - 1) * torch.exp((new - old) * mask)


def forward_divergence(new: torch.Tensor, parent: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
    """(answers, tokens) -> same: the k3 estimate of KL(parent || policy) at each token of the parent's answers; 0 where masked.

    It needs no importance ratio: the parent's answers do not depend on the policy, so the gradient of the mean is that
    of the divergence, and it is 0 at each token where both agree. The mean of the negative log-likelihood has the same
    gradient, with noise there.
    """
    gap = (new - parent) * mask
    return torch.exp(gap) - gap - 1
