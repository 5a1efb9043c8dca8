"""Equivalents of suite items are recognised and excluded."""

from __future__ import annotations

from everlearn.domains.contamination import equivalence_keys, without_contamination
from everlearn.domains.contract import load_domain

DOMAIN = load_domain("integration")


def test_equivalents_of_a_suite_item_are_excluded() -> None:
    problems = [DOMAIN.problem(statement) for statement in ("2*x^3", "sin(x)")]
    forbidden = equivalence_keys(["5*x^3"], domain=DOMAIN)
    assert [problem.statement for problem in without_contamination(problems, domain=DOMAIN, forbidden=forbidden)] == [
        "sin(x)"
    ]


def test_equivalent_statements_share_one_key() -> None:
    assert len(equivalence_keys(["2*x^3", "x^3", "sin(x)"], domain=DOMAIN)) == 2
