"""New problems of the same families as given ones: their terms with other numbers, recombined.

A new sum has as many terms as one of the given sums; about half of them are exchanged for terms of the other sums. The
numbers of a term stay in the ranges that occur in the same term elsewhere: where there is `x*exp(x)` and `sin(5*x)`,
`x*exp(5*x)` would be harder than both. An exponent takes a value that the same term has elsewhere
with otherwise equal exponents, or one between two of these where neighbouring integers are among them: `x^2*exp(x^3)`
and `x^3*exp(x^4)` do not give `x^2*exp(x^4)`. A composition (`compositions.py`) gives another one of its depth.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Self

from everlearn.domains.integration.compositions import draw_product, read_composition
from everlearn.domains.integration.numeric_verifier import is_defined
from everlearn.domains.integration.term_sums import Term, join_sum
from everlearn.domains.integration.term_templates import summands_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from everlearn.domains.integration.grammar import Expression
    from everlearn.domains.integration.term_templates import Summand

TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers that one template has in the given problems."""

    coefficients: range
    scales: range
    shifts: range
    exponents: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, terms: Sequence[Summand]) -> Self:
        """Return the numbers of these terms, which have the same template."""
        return cls(
            coefficients=_span(term.coefficient for term in terms if term.coefficient),
            scales=_span(term.argument[0] for term in terms if term.argument),
            shifts=_span(term.argument[1] for term in terms if term.argument),
            exponents=frozenset(term.exponents for term in terms),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What was learned from given problems.

    `in_sums` holds the terms of all problems with more than one, `depths` the depth of each composition.
    """

    problems: tuple[tuple[Summand, ...], ...]
    in_sums: tuple[Summand, ...]
    numbers: dict[Expression, Numbers]
    depths: dict[tuple[Summand, ...], int]


def draw_similar(rng: random.Random, statements: Sequence[str]) -> str:
    """Return a problem like `statements`, real at enough points; one of them unchanged if none is found.

    Raises:
        GrammarError: one of the statements is not in the grammar.
    """
    models = _learn(tuple(statements))
    for _ in range(TRIES):
        given = rng.choice(models.problems)
        if (depth := models.depths.get(given)) is not None:
            return draw_product(rng, depth=depth)
        terms = [
            _with_other_numbers(rng, term, models.numbers[term.template]) for term in _recombined(rng, given, models)
        ]
        text = join_sum([Term(sign="-" if term.negative else "+", body=term.to_text()) for term in terms])
        if _different(terms) >= _different(given) and is_defined(text):
            return text
    return rng.choice(statements)


@lru_cache(maxsize=4)
def _learn(statements: tuple[str, ...]) -> Models:
    problems = tuple(map(summands_of, statements))
    terms: dict[Expression, list[Summand]] = defaultdict(list)
    for term in chain.from_iterable(problems):
        terms[term.template].append(term)
    return Models(
        problems=problems,
        in_sums=tuple(term for problem in problems if len(problem) > 1 for term in problem),
        numbers={template: Numbers.of(same) for template, same in terms.items()},
        depths={
            problem: len(found.functions)
            for problem, statement in zip(problems, statements, strict=True)
            if (found := read_composition(statement)) is not None and len(found.functions) > 1
        },
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


def _with_other_numbers(rng: random.Random, term: Summand, numbers: Numbers) -> Summand:
    coefficient, argument = term.coefficient, term.argument
    if coefficient is not None:
        coefficient = rng.choice(numbers.coefficients)
    if argument is not None:
        argument = (rng.choice(numbers.scales), rng.choice(numbers.shifts))
    exponents = term.exponents
    for at in range(len(exponents)):
        value = rng.choice(_allowed(exponents, at, numbers.exponents))
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
