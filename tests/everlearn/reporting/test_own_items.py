"""How many target items of a night are the user's own."""

from __future__ import annotations

import pytest

from everlearn.data.suites import Suite, SuiteKind
from everlearn.problem import Problem
from everlearn.reporting.own_items import count_items, describe_items, own_items


def suite(kind: SuiteKind, count: int) -> Suite:
    problems = tuple(Problem(id=str(n), domain="integration", statement="x") for n in range(count))
    return Suite(name=str(kind), kind=kind, problems=problems)


def test_own_and_generated_items_are_counted() -> None:
    counts = count_items([suite(SuiteKind.TARGET, 31), suite(SuiteKind.GENERATED, 169), suite(SuiteKind.SKILL, 700)])
    assert describe_items(own_items(counts)) == "31 of 200 target items are yours"


def test_a_night_without_own_items_says_so() -> None:
    assert describe_items(own_items(count_items([suite(SuiteKind.GENERATED, 9)]))) == "0 of 9 target items are yours"


@pytest.mark.parametrize("metrics", [{}, {"skill": 0.9}, {"items/own": 3.0}])
def test_nothing_is_claimed_about_nights_of_older_revisions(metrics: dict[str, float]) -> None:
    assert own_items(metrics) is None
    assert describe_items(own_items(metrics)) is None
