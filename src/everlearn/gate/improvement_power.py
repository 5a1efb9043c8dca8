"""What a target suite can show, computed before a night is paid for.

The number of items decides how large an improvement has to be to be seen: with five items all must be won, and with
fewer no result is significant.
"""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

from everlearn.gate.statistics import power_to_improve

if TYPE_CHECKING:
    from everlearn.settings import GateSettings

_STEPS = 12  # of a bisection: to 1/40 of a point


def fewest_items(*, alpha: float) -> int:
    """Return the smallest number of items that can show an improvement: all won, p = 2^-n."""
    return ceil(log2(1 / alpha))


def smallest_visible_gain(n: int, *, settings: GateSettings) -> float | None:
    """Return the smallest improvement that `n` items show with the configured power, or None if they never can."""
    if n < fewest_items(alpha=settings.alpha):
        return None
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        gain = (low + high) / 2
        power = power_to_improve(n, gain=gain, discordance=settings.discordance, alpha=settings.alpha)
        low, high = (gain, high) if power < settings.power else (low, gain)
    return high


def describe_target(own: int, generated: int, *, settings: GateSettings) -> tuple[bool, str]:
    """Return whether `own` items can show an improvement, and a sentence on how large it has to be, with a remedy."""
    gain = smallest_visible_gain(own, settings=settings)
    yours = f"{own} of {own + generated} target items are yours"
    remedy = "raise ingest.holdout_share, or collect more problems for a night"
    if gain is None:
        fewest = fewest_items(alpha=settings.alpha)
        return False, f"{yours}; fewer than {fewest} can never show an improvement: {remedy}"
    shown = f"{own} items show an improvement of at least {100 * gain:.0f} points with {settings.power:.0%} power"
    return True, f"{yours}; {shown}; to see a smaller one, {remedy}"
