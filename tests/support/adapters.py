"""Adapters that have an effect, without a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from everlearn.training.models.policy import Policy


def shake(policy: Policy, *, seed: int, size: float) -> Policy:
    """Fill each B with normal numbers of that standard deviation, drawn from the seed; return the policy."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, size, generator=generator)
    return policy
