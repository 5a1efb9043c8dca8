"""Estimate of rounding errors by random rounding (discrete stochastic arithmetic; Vignes 1993, CESTAC and CADNA).

An evaluation is done twice, and in the second one each result is changed at random, by more than its rounding error. The
difference of the two bounds the rounding error of the whole, with high probability. Where digits cancel or a function
saturates, as in `tanh(x) + 1` at x = -300, it is as large as the result itself. The changes are some hundred units in the
last place and not one or two, so that two of them almost never cancel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

_ROWS = 61
_UNIT = 2.0**-52


class RandomRounding:
    """Change results at the last `echoes` points, and leave those at the others as they are."""

    def __init__(self, echoes: int) -> None:
        self._echoes = echoes
        self._factors = _table(echoes)
        self._next = 0

    def repeat(self, values: np.ndarray, *, name: str) -> np.ndarray:
        """Return the results at the first `echoes` points, rounded at random, always in the same way for a name.

        `values` has shape (…, points).
        """
        rounded: np.ndarray = values[..., : self._echoes] * self._factors[crc32(name.encode()) % _ROWS]
        return rounded

    def of(self, values: Any) -> Any:
        """Return the results, shape (points,), rounded at random. Constants, which have no shape, stay as they are."""
        if not isinstance(values, np.ndarray):
            return values
        self._next = (self._next + 1) % _ROWS
        changed = values.copy()
        changed[-self._echoes :] *= self._factors[self._next]
        return changed


@lru_cache(maxsize=32)
def _table(echoes: int) -> np.ndarray:
    """Return factors near one, shape (rows, echoes)."""
    rng = np.random.default_rng(0)
    changes = rng.uniform(64, 1024, (_ROWS, echoes)) * rng.choice([-1.0, 1.0], (_ROWS, echoes))
    factors: np.ndarray = 1 + _UNIT * changes
    return factors
