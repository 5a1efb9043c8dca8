"""What a text is worth at an array of points, where most of its terms have been seen before.

A text is cut at the signs outside its brackets. Each piece is parsed by the grammar for itself, evaluated once, and
remembered by its text: a model writes the same terms over and over. A text that does not fall into pieces which the
grammar reads is read as a whole, so that cutting never decides what is an expression: after a factor that is
complete, the grammar takes a sign for the next term, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from everlearn.domains.integration.dual_numbers import DualEvaluator, hides, is_monomial
from everlearn.domains.integration.grammar import DEFAULT, Expression, parse
from everlearn.domains.integration.numeric_safety import is_numerically_safe
from everlearn.errors import GrammarError

REMEMBERED = 20_000  # pieces, of about 1 kB each
_LONGEST = 120  # characters of a piece that is remembered
_PIECE = re.compile(r"[+-]?(?:[^()+-]++|\((?:[^()]++|\((?:[^()]++|\([^()]*+\))*+\))*+\))++")
_LONG_NUMBER = re.compile(r"[0-9.]{7}|\.[0-9]")
_FAINT, _FANCY, _VISIBLE, _VARIABLE = 1, 2, 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PointValues:
    """The values of a text, or its slopes, at the points: (n,). Not finite where it is undefined.

    `faint`: it has parts that double precision does not see. `plain`: see `plain.py`. `long`: it has a number with so
    many digits that another one may be meant.
    """

    at: np.ndarray
    faint: bool
    plain: bool
    long: bool


class TermCache:
    """Points, and the pieces of texts that are known at them."""

    def __init__(self, points: np.ndarray, *, most: int = REMEMBERED) -> None:
        self.points = points
        self._most = most
        self._known: dict[str, tuple[int, int]] = {}  # piece -> its row, what there is to say of it
        self._values = np.zeros((8, len(points)), dtype=complex)
        self._slopes = np.zeros_like(self._values)
        self._sizes = np.zeros(self._values.shape)

    def values(self, text: str) -> PointValues:
        """The text's values. GrammarError where it is no expression."""
        return self._read(text, slopes=False)

    def slopes(self, text: str) -> PointValues:
        """Those of its derivative."""
        return self._read(text, slopes=True)

    def _read(self, text: str, *, slopes: bool) -> PointValues:
        found = self._pieces(text)
        kinds = 0
        for _, kind in found:
            kinds |= kind
        if not found or (not kinds & _VARIABLE and len(found) > 1):
            return self._whole(text, slopes=slopes)
        rows = [row for row, _ in found]
        table = self._slopes if slopes else self._values
        hidden = len(rows) > 1 and bool(kinds & _VISIBLE) and hides(self._sizes.take(rows, axis=0))
        return PointValues(
            at=np.add.reduce(table.take(rows, axis=0), axis=0),
            faint=bool(kinds & _FAINT) or hidden,
            plain=not kinds & _FANCY,
            long=_LONG_NUMBER.search(text) is not None,
        )

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        """The rows of the text's pieces, none where it has to be read as a whole."""
        pieces = _PIECE.findall(text)
        if len(text) > DEFAULT.length or sum(map(len, pieces)) < len(text):
            return []
        if len(self._known) + len(pieces) > self._most:
            self._known.clear()
        try:
            return [self._known.get(piece) or self._learn(piece) for piece in (text.strip(" ") for text in pieces)]
        except GrammarError:
            return []

    def _learn(self, piece: str) -> tuple[int, int]:
        if len(piece) > _LONGEST:
            raise GrammarError("too long to be remembered")
        tree = parse(piece)
        row = len(self._known)
        if row == len(self._values):
            self._values, self._slopes, self._sizes = map(_doubled, (self._values, self._slopes, self._sizes))
        duals = DualEvaluator(self.points, slopes=True)
        value, slope = duals.at(tree)
        self._values[row] = value
        self._slopes[row] = 0 if slope is None else slope
        self._sizes[row] = np.abs(self._values[row])
        kind = _FAINT * duals.faint | _FANCY * (not is_numerically_safe(tree)) | _VISIBLE * (not is_monomial(tree))
        self._known[piece] = row, kind | _VARIABLE * isinstance(value, np.ndarray)
        return self._known[piece]

    def _whole(self, text: str, *, slopes: bool) -> PointValues:
        tree = parse(text)
        at, faint = evaluate(tree, self.points, slopes=slopes)
        return PointValues(
            at=at, faint=faint, plain=is_numerically_safe(tree), long=_LONG_NUMBER.search(text) is not None
        )


def evaluate(tree: Expression, points: np.ndarray, *, slopes: bool) -> tuple[np.ndarray, bool]:
    """The values of a tree, or its slopes, at the points, and whether it is faint."""
    duals = DualEvaluator(points, slopes=slopes)
    value, slope = duals.at(tree)
    wanted = (0 if slope is None else slope) if slopes else value
    return np.broadcast_to(np.asarray(wanted, dtype=complex), points.shape), duals.faint


def _doubled(table: np.ndarray) -> np.ndarray:
    return np.concatenate([table, np.zeros_like(table)])
