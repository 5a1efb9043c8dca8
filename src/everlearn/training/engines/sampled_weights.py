"""Test which weights gave some log-probabilities: the expected ones, or others by mistake.

A server that rounds to bfloat16 differs from our float32 forward pass by 0.05 nats a token, and so do two adapters one
step apart: the size of the difference tells nothing. Its direction does. Rounding is independent of how other weights
differ from ours; a server that answers with them differs from us exactly as they do. That holds only where ours and the
other weights are scored in the same precision: else the direction would be that of our own rounding, which the
difference has, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

ALIKE = 1e-3
"""Root of the mean squared difference of two weights' log-probabilities, in nats a token, up to which they count as equal: a fresh adapter
differs from its base by rounding in float32, at most.
"""
HALF, ERRORS = 0.5, 6.0
"""Least slope of the server's difference along that of the other weights, alone and in its standard errors.

1 is expected from the other weights and 0 from ours: the first number lies between. By the second, rounding
that is normal and independent of them is mistaken for other weights once in 10^9 comparisons.
"""
FEWEST = 8.0
"""Least effective number of tokens by which weights are told apart (Kish's, with the squared differences as weights). A policy that is
nearly sure of its answers differs from others in a few tokens, whose own rounding would give the slope.
"""


def other_weights(theirs: torch.Tensor, ours: torch.Tensor, others: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the weights among `others` that gave `theirs`, or None if they may be ours.

    All tensors are (tokens,): log-probabilities of the same tokens, in nats. Weights that differ from ours too little
    to matter, or to be told apart in that many tokens, are not named.
    """
    gap, found = theirs.double() - ours.double(), dict[str, float]()
    for name, scores in others.items():
        direction = scores.double() - ours.double()
        power = float(direction @ direction)
        if power <= max(len(gap) * ALIKE**2, (FEWEST * float(direction.pow(4).sum())) ** 0.5):
            continue
        slope = float(gap @ direction) / power
        rest = gap - slope * direction
        error = (float(rest @ rest) / max(1, len(gap) - 1) / power) ** 0.5
        if slope > HALF and slope > ERRORS * error:
            found[name] = float(rest @ rest)
    return min(found, key=lambda name: found[name], default=None)
