"""The steps of a night from the training to the gate, called one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.decide import decide, name_baselines, recheck_rewards
from tasks.measure import check_bytes, measure_suites, upload_candidate
from tasks.train import train_adapter

if TYPE_CHECKING:
    from tasks.night import Night


def train_and_judge(night: Night) -> str:
    """Train on the ladder, measure candidate and parent, and return the outcome of the gate."""
    train_adapter.fn(night)
    upload_candidate.fn(night)
    for policy in ("candidate", "parent"):
        measure_suites.fn(night, policy)
    check_bytes.fn(night)
    recheck_rewards.fn(night)
    return decide.fn(night, name_baselines.fn(night))
