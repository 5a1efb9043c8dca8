"""Group-relative policy optimization, as a few small functions.

Shao et al. 2024 (arXiv 2402.03300), with the variants that later work found to matter, each a setting:

    grpo      each answer counts the same, whatever its length (the original; with `scaled` advantages)
    dr_grpo   a token counts the same in every step: sum / (answers * a constant length) (Liu et al. 2025, 2503.20783)
    dapo      a token counts the same within its step, and the clip is asymmetric (Yu et al. 2025, 2503.14476)
    sequence  one importance ratio an answer instead of one a token, with `grpo` (GSPO, Zheng et al. 2025, 2507.18071)

Beside them the importance weight between sampler and trainer, truncated (Yao et al. 2025, "Your efficient RL framework
secretly brings you off-policy RL training"), and the k3 estimate of the divergence from the parent (Schulman 2020,
"Approximating KL divergence"). The signs, clips and denominators are those of `trl`, which the tests compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from everlearn.settings import LearnSettings

EPSILON = 1e-4
"""Added to a group's standard deviation, as trl does."""


def advantages(rewards: torch.Tensor, *, scaled: bool = False) -> torch.Tensor:
    """(groups, answers) -> same: each reward less its group's mean; if `scaled`, over its standard deviation."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + EPSILON) if scaled else centred


def token_weights(lengths: torch.Tensor, *, settings: LearnSettings, answers: int, tokens: int) -> torch.Tensor:
    """(answers of a batch,) -> (answers of a batch, 1): what each of their tokens counts in the loss of the whole step.

    `answers` and `tokens` are those of the step, so that its loss is a plain sum, however it is cut into batches.
    """
    if settings.loss == "grpo":
        return 1 / (answers * lengths.clamp(min=1)[:, None].float())
    whole = tokens if settings.loss == "dapo" else answers * settings.loss_length
    return torch.full((len(lengths), 1), 1 / whole)


def policy_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    sampler: torch.Tensor,
    advantage: torch.Tensor,
    *,
    mask: torch.Tensor,
    settings: LearnSettings,
) -> torch.Tensor:
    """(answers, tokens) -> same: the clipped surrogate of each token; what is masked is 0.

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
    """(answers, tokens) -> same: the k3 estimate of KL(policy || parent) at each token; what is masked is 0.

    Times the importance ratio, through which its gradient becomes that of the divergence itself (DeepSeek-V3.2, 2025,
    arXiv 2512.02556): without it, even on policy, the estimate is unbiased and its gradient is not.
    """
    gap = (parent - new) * mask
    return (torch.exp(gap) - gap - 1) * torch.exp((new - old) * mask)
