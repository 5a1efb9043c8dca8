"""The verdict on an antiderivative, fast: differentiate the answer and compare it with the integrand at points.

The points are drawn from a seed: real ones of several sizes out of the integrand's own real domain, and complex ones.
Where either side is undefined a point is left out; at the others the two must agree within `RELATIVE` of the larger
one, plus `ABSOLUTE`. Two outcomes are settled here, in double precision:

- CORRECT, when they agree at every real and every complex point, nothing was too faint to be seen, and both are
  *plain*: polynomials, quotients and the common functions of linear arguments, which can neither be folded nor fade;
- WRONG, when they are far apart at half of the real points of middle size, or more.

Everything between (cancellation, branch cuts, a right answer on a part of the domain, tiny or huge constants, long
decimals) goes to `proof.recheck` at 50 digits, and its verdict is this one's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from everlearn.domains.integration import proof
from everlearn.domains.integration.duals import Duals, Memo
from everlearn.domains.integration.grammar import Expression, parse
from everlearn.domains.integration.plain import is_plain
from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict

RELATIVE = 1e-9
ABSOLUTE = 1e-300
FAR = 1e-6
TINY = 1e-12
ENOUGH = 6  # real points at which both sides are defined
_MIDDLE = (0.3, 2.0)
_LONG_NUMBER = re.compile(r"[0-9.]{7}|\.[0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An integrand at points: (n,) each. Not finite where it is undefined.

    `real` marks points of the axis where it is real, `middle` those of middle size; `memo` keeps what is known of
    terms of answers at these points.
    """

    points: np.ndarray
    values: np.ndarray
    real: np.ndarray
    middle: np.ndarray
    faint: bool
    memo: Memo

    @property
    def enough(self) -> bool:
        """Whether the integrand is real at enough points to be judged there."""
        return int(self.real.sum()) >= ENOUGH


def verify(integrand: str, antiderivative: str, *, seed: int = 0) -> Verdict:
    """Judge whether the second text is an antiderivative of the first.

    Raises:
        GrammarError: the integrand is no expression of the grammar. An answer that is none is WRONG, or UNDECIDED
            where it names a function that the grammar has no theory of.
    """
    sample = _sample(integrand, seed)
    try:
        answer = parse(antiderivative)
    except GrammarError as error:
        return proof.unreadable(antiderivative, error)
    faint = bool(_LONG_NUMBER.search(integrand) or _LONG_NUMBER.search(antiderivative))
    settled = None if faint else _compare(answer, sample)
    return settled or proof.recheck(integrand, antiderivative)


def _compare(answer: Expression, sample: Sample) -> Verdict | None:
    """The verdict where double precision is enough for one, else None."""
    with np.errstate(all="ignore"):
        duals = Duals(sample.points, slopes=True, memo=sample.memo)
        slope = duals.whole(answer)[1]
        slopes = np.broadcast_to(np.asarray(0 if slope is None else slope, dtype=complex), sample.points.shape)
        gaps = np.abs(slopes - sample.values)
        sizes = np.maximum(np.abs(slopes), np.abs(sample.values))
        known = np.isfinite(gaps) & np.isfinite(sizes)
        agree = gaps <= RELATIVE * sizes + ABSOLUTE
        judged = sample.real & known
        count = int(judged.sum())
        if not sample.enough or count < ENOUGH or 2 * count < int(sample.real.sum()):
            return None
        if bool(agree[known].all()) and not (sample.faint or duals.faint) and is_plain(answer):
            return Verdict(
                ruling=Ruling.CORRECT,
                reason=f"its derivative agrees with the integrand at {count} real and {int(known.sum()) - count} "
                "complex points",
            )
        tested = judged & sample.middle
        far = tested & (gaps > FAR * sizes + TINY)
        if int(tested.sum()) >= ENOUGH and 2 * int(far.sum()) >= int(tested.sum()):
            return _wrong(sample, slopes, int(np.flatnonzero(far)[0]))
    return None


def _wrong(sample: Sample, slopes: np.ndarray, at: int) -> Verdict:
    return Verdict(
        ruling=Ruling.WRONG,
        reason=f"at x = {sample.points[at].real:.6g} its derivative is {_shown(slopes[at])}, the integrand "
        f"{_shown(sample.values[at])}",
    )


def _shown(value: complex) -> str:
    return f"{value.real:.6g}" if abs(value.imag) <= 1e-12 * abs(value) else f"{complex(value):.6g}"


@lru_cache(maxsize=4096)
def _sample(integrand: str, seed: int) -> Sample:
    """The integrand at the common points, or, where it is rarely real at those, at points searched for it."""
    tree = parse(integrand)
    sample = _evaluate(tree, _bank(seed), known=_memo(seed, slopes=False), memo=_memo(seed, slopes=True))
    if sample.enough:
        return sample
    wide = _evaluate(tree, _search(seed), known={}, memo={})
    found = wide.points[wide.real]
    if len(found) < ENOUGH:
        return sample
    chosen = found[np.linspace(0, len(found) - 1, num=16).astype(int)]
    return _evaluate(tree, np.concatenate([chosen, _bank(seed)]), known={}, memo={})


def _evaluate(tree: Expression, points: np.ndarray, *, known: Memo, memo: Memo) -> Sample:
    """`known` are terms of integrands at these points, `memo` those of answers."""
    with np.errstate(all="ignore"):
        duals = Duals(points, slopes=False, memo=known)
        values = np.broadcast_to(np.asarray(duals.whole(tree)[0], dtype=complex), points.shape)
        sizes = np.abs(points)
        return Sample(
            points=points,
            values=values,
            real=(points.imag == 0) & (np.abs(values.imag) <= 1e-12 * np.abs(values)) & np.isfinite(values),
            middle=(sizes >= _MIDDLE[0]) & (sizes <= _MIDDLE[1]),
            faint=duals.faint or not is_plain(tree),
            memo=memo,
        )


@lru_cache(maxsize=16)
def _memo(_: int, *, slopes: bool) -> Memo:  # noqa: ARG001
    """The terms known at the common points of a seed."""
    return {}


@lru_cache(maxsize=8)
def _bank(seed: int) -> np.ndarray:
    """The points that most integrands are judged at: 16 real ones and 8 complex ones, of several sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.uniform(0.05, 0.3, 2), rng.uniform(*_MIDDLE, 10), rng.uniform(_MIDDLE[1], 15, 4)])
    signs = np.tile([1, 1, -1, 1], 4)
    real = (sizes * signs).astype(complex)
    complex_ones = rng.uniform([0.1, 0.3, 0.1, 0.5, 1, 1, 3, 1], [1, 2, 1, 3, 4, 4, 8, 7]) * np.exp(
        1j * rng.uniform(-3, 3, 8)
    )
    points: np.ndarray = np.concatenate([real, complex_ones])
    return points


@lru_cache(maxsize=8)
def _search(seed: int) -> np.ndarray:
    """Real points of all sizes, where a real domain is searched, in ascending order."""
    rng = np.random.default_rng([seed, 1])
    sizes = 10 ** rng.uniform(-2, 2, 1000)
    points: np.ndarray = np.sort(np.concatenate([sizes, -sizes, rng.uniform(-10, 10, 1000)])).astype(complex)
    return points
