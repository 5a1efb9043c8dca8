"""What a night is about: its own held-out problems, and generated ones of the same families as a suite of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from everlearn.data.holdout import Split
from everlearn.data.suites import SuiteKind
from everlearn.data.target_suite import freeze_own, freeze_target, generate_fillers
from everlearn.data.used_problems import EarlierUse
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.domains.integration.term_templates import summands_of
from everlearn.problem import Problem

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain

INTEGRATION = load_domain("integration")
UNKNOWN = [
    INTEGRATION.problem(text)
    for a in range(1, 8)
    for text in (
        f"{a}*tan({a}*x) + x^2*exp({a}*x)",
        f"sinh({a}*x) - {a}*sqrt({a}*x + 1) + sin(x)^{a + 1}",
        f"sqrt(x + {a}) - {a}*tan(x)",
    )
]


@dataclass
class Counting:
    """A domain of statements `3*7`, equivalent if the second numbers are equal, of which there are `limit`."""

    limit: int = 1000
    examples: list[tuple[str, ...]] = field(default_factory=list)

    def canonical(self, statement: str) -> str:
        return statement.replace(" ", "")

    def equivalence(self, statement: str) -> str:
        return "equivalent to " + statement.replace(" ", "").split("*")[1]

    def problem(self, statement: str) -> Problem:
        return Problem(id=statement, domain="counting", statement=statement)

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = ()) -> Problem:
        self.examples.append(tuple(problem.statement for problem in like))
        return self.problem(f"{rng.randrange(2, 9)}*{rng.randrange(self.limit)}")


class WithoutGenerator(Counting):
    """A domain that can only return what it was given."""

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = ()) -> Problem:
        return rng.choice(like)


def counting(limit: int = 1000) -> Domain:
    return cast("Domain", Counting(limit=limit))


def problem(statement: str) -> Problem:
    return Problem(id=statement, domain="counting", statement=statement)


def keys(problems: Sequence[Problem], domain: Domain) -> frozenset[str]:
    return equivalence_keys([p.statement for p in problems], domain=domain)


def test_the_target_holds_own_problems_only() -> None:
    domain = counting()
    forbidden = keys([problem(f"1*{k}") for k in range(500)], domain)
    held = [problem("1*600"), problem("2*600"), problem("1*3"), problem("1*700")]
    suite = freeze_target(held, domain=domain, forbidden=forbidden)
    assert suite is not None
    assert (suite.kind, suite.problems) == (SuiteKind.TARGET, (held[0], held[3]))
    assert cast("Counting", domain).examples == []


def test_without_own_problems_there_is_no_target() -> None:
    assert freeze_target([problem("1*1")], domain=counting(), forbidden={"1*1"}) is None
    assert freeze_target([], domain=counting(), forbidden=()) is None


def test_fillers_are_drawn_from_tonights_problems_alone() -> None:
    domain = counting()
    tonight = [problem("1*600"), problem("1*700")]
    forbidden = keys([problem(f"1*{k}") for k in range(500)], domain)
    suite = generate_fillers(tonight, count=60, domain=domain, forbidden=forbidden, seed="digest")
    assert suite is not None
    assert (suite.kind, len(suite.problems), len(keys(suite.problems, domain))) == (SuiteKind.GENERATED, 60, 60)
    assert not keys(suite.problems, domain) & forbidden
    assert set(cast("Counting", domain).examples) == {("1*600", "1*700")}


def test_fillers_of_unknown_families_keep_to_them() -> None:
    forbidden = keys(UNKNOWN, INTEGRATION)
    suite = generate_fillers(UNKNOWN, count=150, domain=INTEGRATION, forbidden=forbidden, seed="digest")
    assert suite is not None
    assert len(suite.problems) == 150
    known = {term.template for given in UNKNOWN for term in summands_of(given.statement)}
    assert {term.template for filler in suite.problems for term in summands_of(filler.statement)} <= known


def test_two_nights_share_few_fillers() -> None:
    first, second = (
        generate_fillers(UNKNOWN, count=100, domain=INTEGRATION, forbidden=(), seed=digest) for digest in ("a", "b")
    )
    assert first is not None
    assert second is not None
    assert len(keys(first.problems, INTEGRATION) & keys(second.problems, INTEGRATION)) < 25
    assert first == generate_fillers(UNKNOWN, count=100, domain=INTEGRATION, forbidden=(), seed="a")


def test_an_exhausted_domain_gives_fewer_fillers() -> None:
    suite = generate_fillers([problem("1*1")], count=20, domain=counting(limit=5), forbidden=(), seed="")
    assert suite is not None
    assert len(suite.problems) == 5


@pytest.mark.parametrize("count", [0, -3])
def test_enough_own_problems_need_no_fillers(count: int) -> None:
    assert generate_fillers([problem("1*1")], count=count, domain=counting(), forbidden=(), seed="") is None


def test_a_domain_without_a_generator_gives_no_fillers() -> None:
    domain = cast("Domain", WithoutGenerator())
    tonight = [problem("1*1")]
    assert generate_fillers(tonight, count=5, domain=domain, forbidden=keys(tonight, domain), seed="") is None


def test_own_suites_are_filled_up_to_the_least_number_of_items() -> None:
    parts = Split(roots=tuple(UNKNOWN[6:]), held_out=tuple(UNKNOWN[:6]))
    keys = equivalence_keys([problem.statement for problem in UNKNOWN[:6]], domain=INTEGRATION)
    asked = {"domain": INTEGRATION, "items": frozenset[str](), "least": 12, "seed": "d"}
    target, fillers = freeze_own(parts, earlier=EarlierUse(measured=keys), **asked)  # type: ignore[arg-type]
    assert target.problems == parts.held_out, "an earlier night may have measured them, too"
    assert (fillers.kind, len(fillers.problems)) == (SuiteKind.GENERATED, 6)
    known = equivalence_keys([item.statement for item in fillers.problems], domain=INTEGRATION)
    again = freeze_own(parts, earlier=EarlierUse(measured=keys | known), **asked)  # type: ignore[arg-type]
    others = equivalence_keys([item.statement for item in again[1].problems], domain=INTEGRATION)
    assert not known & others, "no filler equals a problem of an earlier night"
    none = freeze_own(Split(roots=(), held_out=()), earlier=EarlierUse(), **asked)  # type: ignore[arg-type]
    assert none == []
