"""Values and derivatives of a text at an array of points, with a cache of its terms.

A text is split at the signs outside its brackets. Each term is parsed, evaluated once, and cached by its text, because
a model writes the same terms many times. If a term is not in the grammar, the text is parsed as a whole, so that
splitting never changes which texts are valid. Splitting is sound, because the grammar also ends a term at such a sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from everlearn.domains.integration.dual_numbers import DualEvaluator, RoundingEvaluator, hides, is_monomial
from everlearn.domains.integration.grammar import ANSWER_NAMES, DEFAULT, NAMES, Expression, parse
from everlearn.domains.integration.numeric_safety import is_numerically_safe
from everlearn.domains.integration.random_rounding import RandomRounding
from everlearn.errors import GrammarError

CACHED_TERMS = 20_000  # of about 1 kB each
_MAX_TERM_LENGTH = 120  # characters of a cached term
_PIECE = re.compile(r"[+-]?(?:[^()+-]++|\((?:[^()]++|\((?:[^()]++|\([^()]*+\))*+\))*+\))++")
_LONG_NUMBER = re.compile(r"[0-9.]{7}|\.[0-9]")
_DIGIT = re.compile(r"[0-9]")
_MOST_DIGITS = 96  # an answer fitted to the 32 real numbers that are compared needs three digits for each, or more
_IMAGINARY_UNIT = re.compile(r"\bi\b", re.ASCII)
_FAINT, _FANCY, _VISIBLE, _VARIABLE, _IMAGINARY = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PointValues:
    """Values or derivatives of a text at the points, shape (n,). Not finite where it is undefined.

    `faint`: parts of it are lost in double precision. `plain`: see `numeric_safety.py`. `long`: it has so many digits that
    a number of it may be a rounded one, or that it may have been fitted to the points.
    """

    at: np.ndarray
    echo: np.ndarray  # those at the real points, rounded at random
    faint: bool
    plain: bool
    long: bool

    @property
    def noise(self) -> np.ndarray:
        """The estimated rounding errors at the real points, see `random_rounding.py`."""
        noise: np.ndarray = np.abs(self.at[: len(self.echo)] - self.echo)
        return noise


class TermCache:
    """Sample points, the `count` real ones first, and the cached values and derivatives of terms at them."""

    def __init__(self, points: np.ndarray, *, most: int = CACHED_TERMS) -> None:
        self.points = points
        self.count = int(np.count_nonzero(points.imag == 0))
        self._all = np.concatenate([points, points[: self.count]])
        self._rounding = RandomRounding(self.count)
        self._most = most
        self._known: dict[str, tuple[int, int]] = {}  # term -> its row in the tables, its flags
        self._rows = 0
        self._tables = np.zeros((2, 8, len(self._all)), dtype=complex)  # values, derivatives
        self._sizes = np.zeros((8, len(points)))

    def values(self, text: str) -> PointValues:
        """Return the values of an integrand. Raises GrammarError if it is not in the grammar."""
        return self._read(text, slopes=False, names=NAMES)

    def answers(self, text: str) -> PointValues:
        """Return the values of an answer. Raises GrammarError if it is not in the grammar."""
        return self._read(text, slopes=False, names=ANSWER_NAMES)

    def slopes(self, text: str) -> PointValues:
        """Return the derivatives of an answer. Raises GrammarError if it is not in the grammar."""
        return self._read(text, slopes=True, names=ANSWER_NAMES)

    def _read(self, text: str, *, slopes: bool, names: frozenset[str]) -> PointValues:
        terms = self._cached_terms(text)
        kinds = 0
        for _, kind in terms:
            kinds |= kind
        if not terms or (not kinds & _VARIABLE and len(terms) > 1) or (kinds & _IMAGINARY and names is NAMES):
            return self._whole(text, slopes=slopes, names=names)
        rows = [row for row, _ in terms]
        table = self._tables[int(slopes)]
        hidden = len(rows) > 1 and bool(kinds & _VISIBLE) and hides(self._sizes.take(rows, axis=0))
        sums = np.add.reduce(table.take(rows, axis=0), axis=0)
        return PointValues(
            at=sums[: len(self.points)],
            echo=sums[len(self.points) :],
            faint=bool(kinds & _FAINT) or hidden,
            plain=not kinds & _FANCY,
            long=_is_long(text),
        )

    def _cached_terms(self, text: str) -> list[tuple[int, int]]:
        """Return row and flags of each term of the text; empty if it has to be parsed as a whole."""
        pieces = _PIECE.findall(text)
        if len(text) > DEFAULT.length or sum(map(len, pieces)) < len(text):
            return []
        if len(self._known) + len(pieces) > self._most:
            self._known.clear()
            self._rows = 0
        try:
            return [self._known.get(piece) or self._find(piece) for piece in pieces]
        except GrammarError:
            return []

    def _find(self, piece: str) -> tuple[int, int]:
        """Return row and flags of a term that may be known without the spaces around it."""
        bare = piece.strip(" ")
        self._known[piece] = self._known.get(bare) or self._learn(bare)
        return self._known[piece]

    def _learn(self, piece: str) -> tuple[int, int]:
        if len(piece) > _MAX_TERM_LENGTH:
            raise GrammarError("too long for the cache")
        tree = parse(piece, names=ANSWER_NAMES)
        row = self._rows
        if row == len(self._sizes):
            self._tables, self._sizes = _doubled(self._tables), _doubled(self._sizes)
        plain = is_numerically_safe(tree)
        duals, variable = self._fill(row, tree, piece, steady=plain)
        self._sizes[row] = np.abs(self._tables[0, row, : len(self.points)])
        kind = _FAINT * duals.faint | _FANCY * (not plain) | _VISIBLE * (not is_monomial(tree))
        kind |= _VARIABLE * variable | _IMAGINARY * bool(_IMAGINARY_UNIT.search(piece))
        self._known[piece] = row, kind
        self._rows += 1
        return self._known[piece]

    def _fill(self, row: int, tree: Expression, piece: str, *, steady: bool) -> tuple[DualEvaluator, bool]:
        """Fill a row of the tables. Return the evaluator, and whether the term depends on x.

        A steady term has no function in which digits cancel, so that it is rounded at random as a whole, not in each part.
        """
        count = len(self.points)
        duals = DualEvaluator(self.points) if steady else RoundingEvaluator(self._all, echoes=self.count)
        value, slope = duals.evaluate(tree)
        if steady and duals.cancelled:
            return self._fill(row, tree, piece, steady=False)
        values, slopes = self._tables[:, row]
        filled = slice(count if steady else None)
        values[filled] = value
        slopes[filled] = 0 if slope is None else slope
        if steady:
            self._tables[:, row, count:] = self._rounding.repeat(self._tables[:, row], name=piece)
        return duals, slope is not None

    def _whole(self, text: str, *, slopes: bool, names: frozenset[str]) -> PointValues:
        tree = parse(text, names=names)
        at, faint = evaluate(tree, self._all, slopes=slopes, echoes=self.count)
        return PointValues(
            at=at[: len(self.points)],
            echo=at[len(self.points) :],
            faint=faint,
            plain=is_numerically_safe(tree),
            long=_is_long(text),
        )


def evaluate(tree: Expression, points: np.ndarray, *, slopes: bool, echoes: int = 0) -> tuple[np.ndarray, bool]:
    """Return the values (or derivatives) of a tree at the points, shape (n,), and whether parts of it are lost."""
    duals = RoundingEvaluator(points, slopes=slopes, echoes=echoes) if echoes else DualEvaluator(points, slopes=slopes)
    value, slope = duals.evaluate(tree)
    wanted = (0 if slope is None else slope) if slopes else value
    return np.broadcast_to(np.asarray(wanted, dtype=complex), points.shape), duals.faint


def _is_long(text: str) -> bool:
    if _LONG_NUMBER.search(text) is not None:
        return True
    return len(text) > 2 * _MOST_DIGITS and len(_DIGIT.findall(text)) > _MOST_DIGITS


def _doubled(table: np.ndarray) -> np.ndarray:
    """Return a table with twice the rows; its last two axes are rows and points."""
    return np.concatenate([table, np.zeros_like(table)], axis=-2)
