"""New problems of the same families as given ones: their terms with other numbers, recombined.

A new sum has as many terms as one of the given sums; about half of them are exchanged for terms of the other sums. All
numbers stay in the ranges of the terms with the same template, where these are many, else in those of all terms. An exponent takes a value that the same term has elsewhere
with otherwise equal exponents, or one between two of these where neighbouring integers are among them: `x^2*exp(x^3)`
and `x^3*exp(x^4)` do not give `x^2*exp(x^4)`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from everlearn.domains.integration.numeric_verifier import is_defined
from everlearn.domains.integration.term_sums import Term, join_sum
from everlearn.domains.integration.term_templates import summands_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from everlearn.domains.integration.grammar import Expression
    from everlearn.domains.integration.term_templates import Summand

TRIES = 20
MANY = 8
"""Terms of one template from which the ranges of its numbers are taken: `x*cos(x)` seen so often never gets a scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """The integers from the smallest to the largest that occur as coefficient, and as scale and shift of an argument."""

    coefficients: range
    scales: range
    shifts: range


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What was learned from given problems.

    `in_sums` holds the terms of all problems with more than one, `ranges` and `exponents` the numbers of each template.
    """

    problems: tuple[tuple[Summand, ...], ...]
    in_sums: tuple[Summand, ...]
    ranges: dict[Expression, Ranges]
    exponents: dict[Expression, frozenset[tuple[int, ...]]]


def draw_similar(rng: random.Random, statements: Sequence[str]) -> str:
    """Return a problem like `statements`, real at enough points; one of them unchanged if none is found.

    Raises:
        GrammarError: one of the statements is not in the grammar.
    """
    models = _learn(tuple(statements))
    for _ in range(TRIES):
        given = rng.choice(models.problems)
        terms = [_with_other_numbers(rng, term, models) for term in _recombined(rng, given, models)]
        text = join_sum([Term(sign="-" if term.negative else "+", body=term.to_text()) for term in terms])
        if _different(terms) >= _different(given) and is_defined(text):
            return text
    return rng.choice(statements)


@lru_cache(maxsize=4)
def _learn(statements: tuple[str, ...]) -> Models:
    problems = tuple(map(summands_of, statements))
    terms = [term for problem in problems for term in problem]
    exponents: dict[Expression, set[tuple[int, ...]]] = defaultdict(set)
    alike: dict[Expression, list[Summand]] = defaultdict(list)
    for term in terms:
        exponents[term.template].add(term.exponents)
        alike[term.template].append(term)
    return Models(
        problems=problems,
        in_sums=tuple(term for problem in problems if len(problem) > 1 for term in problem),
        ranges={template: _ranges(same if len(same) >= MANY else terms) for template, same in alike.items()},
        exponents={template: frozenset(values) for template, values in exponents.items()},
    )


def _ranges(terms: Sequence[Summand]) -> Ranges:
    arguments = [term.argument for term in terms if term.argument]
    return Ranges(
        coefficients=_span(term.coefficient for term in terms if term.coefficient),
        scales=_span(scale for scale, _ in arguments),
        shifts=_span(shift for _, shift in arguments if shift),
    )


def _span(values: Iterable[int]) -> range:
    """Return all integers from the smallest to the largest value."""
    seen = sorted(values)
    return range(seen[0], seen[-1] + 1) if seen else range(0)


def _recombined(rng: random.Random, given: Sequence[Summand], models: Models) -> list[Summand]:
    """Return the terms with about half of them, and all signs, drawn from the given sums; a single term as it is."""
    if len(given) == 1:
        return list(given)
    drawn = [rng.choice(models.in_sums) if rng.random() < 0.5 else term for term in given]
    return [replace(term, negative=rng.choice(models.in_sums).negative) for term in drawn]


def _with_other_numbers(rng: random.Random, term: Summand, models: Models) -> Summand:
    coefficient, argument, ranges = term.coefficient, term.argument, models.ranges[term.template]
    if coefficient is not None:
        coefficient = rng.choice(ranges.coefficients)
    if argument is not None:
        argument = (rng.choice(ranges.scales), rng.choice(ranges.shifts) if argument[1] else 0)
    exponents = term.exponents
    for at in range(len(exponents)):
        value = rng.choice(_allowed(exponents, at, models.exponents[term.template]))
        exponents = (*exponents[:at], value, *exponents[at + 1 :])
    return replace(term, coefficient=coefficient, argument=argument, exponents=exponents)


def _allowed(exponents: tuple[int, ...], at: int, seen: frozenset[tuple[int, ...]]) -> Sequence[int]:
    """Return the values for the exponent `at`, the others being as they are."""
    others = [other[at] for other in seen if (*other[:at], *other[at + 1 :]) == (*exponents[:at], *exponents[at + 1 :])]
    values = sorted({exponents[at], *others})
    return _span(values) if any(after - before == 1 for before, after in pairwise(values)) else values


def _different(terms: Sequence[Summand]) -> int:
    """Return the number of terms that differ in more than coefficient and sign."""
    return len({(term.template, term.argument, term.exponents) for term in terms})
