"""Fast verification of an antiderivative: differentiate the answer and compare it with the integrand at sample points.

The points are drawn from a seed: real points of several magnitudes in the real domain of the integrand, and complex
ones. Points where either side is undefined are skipped. At the others, the two must agree within `RELATIVE` of the
larger one, plus `ABSOLUTE`. Double precision decides two cases:

- CORRECT: they agree at every real and complex point, no part was lost in rounding, and both expressions are
  numerically safe (`numeric_safety.py`);
- WRONG: they are far apart at half of the real points of medium magnitude, or more, by more than the rounding errors
  (`random_rounding.py`). If not at all, the points where the answer is not real do not count: another branch may be meant.

All other cases (cancellation, saturation, branch cuts, an answer that is right on a part of the domain, tiny or huge
constants, long decimals) get the verdict of `recheck.recheck` at 50 digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from everlearn.domains.integration import recheck
from everlearn.domains.integration.dual_numbers import watched
from everlearn.domains.integration.grammar import parse
from everlearn.domains.integration.term_cache import PointValues, TermCache, evaluate
from everlearn.errors import GrammarError
from everlearn.problem import Ruling, Verdict

RELATIVE = 1e-9
ABSOLUTE = 1e-300
FAR = 1e-6
TINY = 1e-12
NOISE = 4.0  # times the estimated rounding error, which a gap must exceed to count
ENOUGH = 6  # required real points at which both sides are defined
_MIDDLE = (0.3, 2.0)
_SMALL_CACHE = 256  # cached terms at points that serve one integrand only


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An integrand at sample points, arrays of shape (n,). Not finite where it is undefined.

    `real` marks the points of the real axis where it is real, `middle` those of them of medium magnitude. `cache` holds
    the points and the cached terms at them.
    """

    cache: TermCache
    values: np.ndarray
    sizes: np.ndarray
    noise: np.ndarray  # estimated rounding errors at the real points
    real: np.ndarray
    middle: np.ndarray
    count: int  # number of real points
    plain: bool
    faint: bool
    long: bool

    @property
    def enough(self) -> bool:
        """Whether the integrand is real at enough points."""
        return self.count >= ENOUGH


def verify(integrand: str, antiderivative: str, *, seed: int = 0) -> Verdict:
    """Judge whether `antiderivative` is an antiderivative of `integrand`.

    Raises:
        GrammarError: the integrand is not in the grammar. An answer that is not in the grammar is UNREADABLE, or UNDECIDED
            if it uses a known special function that the grammar lacks.
    """
    sample = _sample(integrand, seed)
    with watched():
        try:
            slopes = sample.cache.slopes(antiderivative)
        except GrammarError as error:
            return recheck.unreadable(antiderivative, error)
        settled = None if sample.long or slopes.long else _compare(antiderivative, slopes, sample)
    return settled or recheck.recheck(integrand, antiderivative)


def is_defined(integrand: str, *, seed: int = 0) -> bool:
    """Return whether the integrand is real at enough points to judge an answer. Raises GrammarError as `verify`."""
    return _sample(integrand, seed).enough


def _compare(antiderivative: str, slopes: PointValues, sample: Sample) -> Verdict | None:
    """Return the verdict if double precision is enough for one, else None."""
    gaps = np.abs(slopes.at - sample.values)
    sizes = np.maximum(np.abs(slopes.at), sample.sizes)
    known = np.isfinite(gaps)
    judged = sample.real & known
    count = np.count_nonzero(judged)
    if sample.faint or slopes.faint or not sample.enough or count < ENOUGH or 2 * count < sample.count:
        return None
    if sample.plain and slopes.plain:
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
    if tests < ENOUGH or 2 * np.count_nonzero(far) < tests:
        return None
    axis = len(sample.noise)
    far[:axis] &= gaps[:axis] > NOISE * (sample.noise + slopes.noise)
    told = np.count_nonzero(far)
    if told < tests:
        real = _is_real(sample.cache.points, sample.cache.answers(antiderivative).at)
        tests, told = np.count_nonzero(tested & real), np.count_nonzero(far & real)
    if told < recheck.ENOUGH_GAPS or 2 * told < tests:
        return None
    return _wrong(sample, slopes.at, int(far.argmax()))


def _wrong(sample: Sample, slopes: np.ndarray, at: int) -> Verdict:
    return Verdict(
        ruling=Ruling.WRONG,
        reason=f"at x = {sample.cache.points[at].real:.6g} its derivative is {_shown(slopes[at])}, the integrand "
        f"{_shown(sample.values[at])}",
    )


def _shown(value: complex) -> str:
    return f"{value.real:.6g}" if abs(value.imag) <= 1e-12 * abs(value) else f"{complex(value):.6g}"


@lru_cache(maxsize=4096)
def _sample(integrand: str, seed: int) -> Sample:
    """Evaluate the integrand at the common points or, if it is real at too few of them, at points found by a search."""
    with watched():
        sample = _evaluate(integrand, _common_cache(seed))
        if sample.enough:
            return sample
        wide = _search(seed)
        values, _ = evaluate(parse(integrand), wide, slopes=False)
        found = wide[_is_real(wide, values)]
        if len(found) < ENOUGH:
            return sample
        chosen = found[np.linspace(0, len(found) - 1, num=16).astype(int)]
        return _evaluate(integrand, TermCache(np.concatenate([chosen, _common_cache(seed).points]), most=_SMALL_CACHE))


def _evaluate(integrand: str, cache: TermCache) -> Sample:
    found = cache.values(integrand)
    real = _is_real(cache.points, found.at)
    sizes = np.abs(cache.points)
    return Sample(
        cache=cache,
        values=found.at,
        sizes=np.abs(found.at),
        noise=found.noise,
        real=real,
        middle=real & (sizes >= _MIDDLE[0]) & (sizes <= _MIDDLE[1]),
        count=int(np.count_nonzero(real)),
        plain=found.plain,
        faint=found.faint,
        long=found.long,
    )


def _is_real(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    real: np.ndarray = (points.imag == 0) & (np.abs(values.imag) <= 1e-12 * np.abs(values)) & np.isfinite(values)
    return real


@lru_cache(maxsize=8)
def _common_cache(seed: int) -> TermCache:
    """Return the cache at the common points: 16 real ones and 8 complex ones, of several magnitudes."""
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
    """Return real points of all magnitudes, in ascending order, to search for the real domain of an integrand."""
    rng = np.random.default_rng([seed, 1])
    sizes = 10 ** rng.uniform(-2, 2, 1000)
    points: np.ndarray = np.sort(np.concatenate([sizes, -sizes, rng.uniform(-10, 10, 1000)])).astype(complex)
    return points
