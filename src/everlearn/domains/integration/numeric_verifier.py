"""The verdict on an antiderivative, fast: differentiate the answer and compare it with the integrand at points.

The points are drawn from a seed: real ones of several sizes out of the integrand's own real domain, and complex ones.
Where either side is undefined a point is left out; at the others the two must agree within `RELATIVE` of the larger
one, plus `ABSOLUTE`. Two outcomes are settled here, in double precision:

- CORRECT, when they agree at every real and every complex point, nothing was too faint to be seen, and both are
  *plain*: polynomials, quotients and the common functions of linear arguments, which can neither be folded nor fade;
- WRONG, when they are far apart at half of the real points of middle size, or more.

Everything between (cancellation, branch cuts, a right answer on a part of the domain, tiny or huge constants, long
decimals) goes to `recheck.recheck` at 50 digits, and its verdict is this one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from everlearn.domains.integration import recheck
from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.term_cache import PointValues, TermCache, evaluate
from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict

RELATIVE = 1e-9
ABSOLUTE = 1e-300
FAR = 1e-6
TINY = 1e-12
ENOUGH = 6  # real points at which both sides are defined
_MIDDLE = (0.3, 2.0)
_FEW = 256  # pieces remembered at points of one integrand's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An integrand at points: (n,) each. Not finite where it is undefined.

    `real` marks points of the axis where it is real, `middle` those of them of middle size; `bank` holds the points,
    and what is known of terms there.
    """

    bank: TermCache
    values: np.ndarray
    sizes: np.ndarray
    real: np.ndarray
    middle: np.ndarray
    count: int  # of the real points
    sure: bool  # that double precision is enough for the integrand
    long: bool

    @property
    def enough(self) -> bool:
        """Whether the integrand is real at enough points to be judged there."""
        return self.count >= ENOUGH


def verify(integrand: str, antiderivative: str, *, seed: int = 0) -> Verdict:
    """Judge whether the second text is an antiderivative of the first.

    Raises:
        GrammarError: the integrand is no expression of the grammar. An answer that is none is WRONG, or UNDECIDED
            where it names a function that the grammar has no theory of.
    """
    sample = _sample(integrand, seed)
    with np.errstate(all="ignore"):
        try:
            slopes = sample.bank.slopes(antiderivative)
        except GrammarError as error:
            return recheck.unreadable(antiderivative, error)
        settled = None if sample.long or slopes.long else _compare(slopes, sample)
    return settled or recheck.recheck(integrand, antiderivative)


def _compare(slopes: PointValues, sample: Sample) -> Verdict | None:
    """The verdict where double precision is enough for one, else None."""
    gaps = np.abs(slopes.at - sample.values)
    sizes = np.maximum(np.abs(slopes.at), sample.sizes)
    known = np.isfinite(gaps) & np.isfinite(sizes)
    judged = sample.real & known
    count = np.count_nonzero(judged)
    if not sample.enough or count < ENOUGH or 2 * count < sample.count:
        return None
    if sample.sure and slopes.plain and not slopes.faint:
        agree = gaps <= RELATIVE * sizes + ABSOLUTE
        if bool(agree[known].all()):
            return Verdict(
                ruling=Ruling.CORRECT,
                reason=f"its derivative agrees with the integrand at {count} real and "
                f"{np.count_nonzero(known) - count} complex points",
            )
    tested = sample.middle & known
    tests = np.count_nonzero(tested)
    far = tested & (gaps > FAR * sizes + TINY)
    if tests >= ENOUGH and 2 * np.count_nonzero(far) >= tests:
        return _wrong(sample, slopes.at, int(far.argmax()))
    return None


def _wrong(sample: Sample, slopes: np.ndarray, at: int) -> Verdict:
    return Verdict(
        ruling=Ruling.WRONG,
        reason=f"at x = {sample.bank.points[at].real:.6g} its derivative is {_shown(slopes[at])}, the integrand "
        f"{_shown(sample.values[at])}",
    )


def _shown(value: complex) -> str:
    return f"{value.real:.6g}" if abs(value.imag) <= 1e-12 * abs(value) else f"{complex(value):.6g}"


@lru_cache(maxsize=4096)
def _sample(integrand: str, seed: int) -> Sample:
    """The integrand at the common points, or, where it is rarely real at those, at points searched for it."""
    with np.errstate(all="ignore"):
        sample = _evaluate(integrand, _bank(seed))
        if sample.enough:
            return sample
        wide = _search(seed)
        values, _ = evaluate(parse(integrand), wide, slopes=False)
        found = wide[_is_real(wide, values)]
        if len(found) < ENOUGH:
            return sample
        chosen = found[np.linspace(0, len(found) - 1, num=16).astype(int)]
        return _evaluate(integrand, TermCache(np.concatenate([chosen, _bank(seed).points]), most=_FEW))


def _evaluate(integrand: str, bank: TermCache) -> Sample:
    worth = bank.values(integrand)
    real = _is_real(bank.points, worth.at)
    sizes = np.abs(bank.points)
    return Sample(
        bank=bank,
        values=worth.at,
        sizes=np.abs(worth.at),
        real=real,
        middle=real & (sizes >= _MIDDLE[0]) & (sizes <= _MIDDLE[1]),
        count=int(np.count_nonzero(real)),
        sure=worth.plain and not worth.faint,
        long=worth.long,
    )


def _is_real(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    real: np.ndarray = (points.imag == 0) & (np.abs(values.imag) <= 1e-12 * np.abs(values)) & np.isfinite(values)
    return real


@lru_cache(maxsize=8)
def _bank(seed: int) -> TermCache:
    """The points that most integrands are judged at: 16 real ones and 8 complex ones, of several sizes."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.uniform(0.05, 0.3, 2), rng.uniform(*_MIDDLE, 10), rng.uniform(_MIDDLE[1], 15, 4)])
    signs = np.tile([1, 1, -1, 1], 4)
    real = (sizes * signs).astype(complex)
    complex_ones = rng.uniform([0.1, 0.3, 0.1, 0.5, 1, 1, 3, 1], [1, 2, 1, 3, 4, 4, 8, 7]) * np.exp(
        1j * rng.uniform(-3, 3, 8)
    )
    return TermCache(np.concatenate([real, complex_ones]))


@lru_cache(maxsize=8)
def _search(seed: int) -> np.ndarray:
    """Real points of all sizes, where a real domain is searched, in ascending order."""
    rng = np.random.default_rng([seed, 1])
    sizes = 10 ** rng.uniform(-2, 2, 1000)
    points: np.ndarray = np.sort(np.concatenate([sizes, -sizes, rng.uniform(-10, 10, 1000)])).astype(complex)
    return points
