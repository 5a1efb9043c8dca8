"""The target suite of a night: held-out problems, topped up with generated ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from everlearn.data.target_suite import freeze_target
from everlearn.domains.contamination import equivalence_keys
from everlearn.errors import BadInputError
from everlearn.problem import Problem

if TYPE_CHECKING:
    import random

    from everlearn.domains.contract import Domain


@dataclass
class Counting:
    """A domain of statements `3*7`, equivalent if the second numbers are equal, of which there are `limit`."""

    limit: int = 1000
    examples: list[str | None] = field(default_factory=list)

    def canonical(self, statement: str) -> str:
        return statement.replace(" ", "")

    def equivalence(self, statement: str) -> str:
        return "equivalent to " + statement.replace(" ", "").split("*")[1]

    def problem(self, statement: str) -> Problem:
        return Problem(id=statement, domain="counting", statement=statement)

    def generate(self, rng: random.Random, *, like: str | None = None) -> str:
        self.examples.append(like)
        return f"{rng.randrange(2, 9)}*{rng.randrange(self.limit)}"


def counting(limit: int = 1000) -> Domain:
    return cast("Domain", Counting(limit=limit))


def problem(statement: str) -> Problem:
    return Problem(id=statement, domain="counting", statement=statement)


def test_the_target_is_topped_up_without_contamination() -> None:
    domain = counting()
    trained = [problem(f"1*{k}") for k in range(500)]
    forbidden = equivalence_keys([p.statement for p in trained], domain=domain)
    held = [problem("1*600"), problem("2*600"), problem("1*3"), problem("1*700")]
    suite = freeze_target(held, domain=domain, size=60, forbidden=forbidden, seed=3)
    assert suite.problems[:2] == (held[0], held[3])
    assert len(suite.problems) == 60
    keys = equivalence_keys([p.statement for p in suite.problems], domain=domain)
    assert len(keys) == 60
    assert not keys & forbidden
    assert set(cast("Counting", domain).examples) == {"1*600", "1*700"}
    assert suite == freeze_target(held, domain=counting(), size=60, forbidden=forbidden, seed=3)


def test_an_exhausted_domain_gives_a_smaller_target() -> None:
    suite = freeze_target([problem("1*1")], domain=counting(limit=5), size=20, forbidden=(), seed=0)
    assert len(suite.problems) == 5


def test_enough_held_out_problems_are_not_topped_up() -> None:
    held = [problem(f"1*{k}") for k in range(4)]
    assert freeze_target(held, domain=counting(), size=2, forbidden=(), seed=0).problems == tuple(held)


def test_without_held_out_problems_examples_are_required() -> None:
    examples = [problem("1*1")]
    assert len(freeze_target([], domain=counting(), size=9, forbidden=(), seed=0, like=examples).problems) == 9
    with pytest.raises(BadInputError, match="bring more new problems"):
        freeze_target(examples, domain=counting(), size=9, forbidden={"1*1"}, seed=0)
