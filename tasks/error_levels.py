"""Levels of a night's tests: what the error budgets of the line leave for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.gate.lifetime_error import level_of_line, loss_level_of_line, past_of

if TYPE_CHECKING:
    from everlearn.gate.lifetime_error import Past
    from tasks.night import Night


def improvement_level_of(night: Night) -> float | None:
    """Return the level of this night's improvement test; None where it is `gate.alpha` each night."""
    return level_of_line(_past_of(night), settings=night.settings.gate)


def loss_level_of(night: Night) -> float | None:
    """Return the level at which this night has to exclude losses; None where it is `gate.alpha` for each comparison."""
    return loss_level_of_line(_past_of(night), settings=night.settings.gate)


def _past_of(night: Night) -> Past:
    return past_of(night.registry.state().history, settings=night.settings.gate, registry=night.registry)
