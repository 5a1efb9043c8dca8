"""Right answers to sums of the demo's families, and wrong ones close to them: what a verifier is attacked with."""

from __future__ import annotations

import functools
import random

from everlearn.domains.integration.compositions import read_composition
from everlearn.domains.integration.term_sums import Term, draw_term, join_sum, split_sum

_DRAWS = 60_000
"""Draws after which the table has every term with a probability above 99.99 % each."""
_CHANGED = 16
"""Most answers in which one digit is changed."""


def antiderivative(statement: str) -> str | None:
    """Return an antiderivative of a sum of terms of the demo's families, or of a composition; None for any other problem."""
    chain = read_composition(statement)
    if chain is not None:
        return join_sum([chain.antiderivative()])
    terms = [_integrated(term) for term in split_sum(statement)]
    known = [term for term in terms if term is not None]
    return join_sum(known) if len(known) == len(terms) else None


def wrong_ones(answer: str, *, rng: random.Random) -> list[str]:
    """Return functions whose derivative is not that of the sum `answer`, which is not constant."""
    others = [
        f"{answer} {added}" for added in ("+ x", "- x", "+ x/1000", "+ x^2", "+ sin(x)", "- exp(x)/100", "+ log(x)")
    ]
    others += [f"-({answer})", f"2*({answer})", f"({answer})/2", f"1.001*({answer})"]
    places = [place for place, letter in enumerate(answer) if letter.isdecimal()]
    for place in rng.sample(places, min(_CHANGED, len(places))):
        digit = (int(answer[place]) + rng.randint(1, 9)) % 10
        others.append(f"{answer[:place]}{digit}{answer[place + 1 :]}")
    terms = split_sum(answer)
    others += [join_sum(terms[:place] + terms[place + 1 :]) for place in range(len(terms)) if len(terms) > 1]
    return list(dict.fromkeys(others))


def same_ones(answer: str) -> list[str]:
    """Return the answer as people write it."""
    return [f"{answer} + C", f"{answer} - 7", f"({answer})", answer.replace("^", "**"), f"${answer}$"]


def _integrated(term: Term) -> Term | None:
    found = _table().get(term.body)
    if found is None or term.sign == "+":
        return found
    return Term(sign="-" if found.sign == "+" else "+", body=found.body)


@functools.cache
def _table() -> dict[str, Term]:
    """Return the antiderivative of each term without its sign."""
    rng, table = random.Random(0), dict[str, Term]()
    for _ in range(_DRAWS):
        asked, answer = draw_term(rng)
        if asked.sign == "+":
            table[asked.body] = answer
    return table
