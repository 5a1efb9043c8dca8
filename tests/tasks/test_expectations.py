"""The expectation suite, and its Data Docs as a self-contained page."""

from __future__ import annotations

import re

import pytest

from everlearn.data.acceptance import AcceptanceCriteria, decide, has_acceptable_share
from everlearn.data.rows import Row, RowFault
from tasks.data_docs import data_docs
from tasks.expectations import Validation, validate_rows

CRITERIA = AcceptanceCriteria(domains=("integration",), max_bad_share=0.2, max_statement_chars=100)
GOOD = Row(where="a:1", domain="integration", statement="x", canonical="x")
BAD = Row(
    where="a:2",
    domain="<img src=x onerror=alert(1)> $1 ${x}",
    statement="<b>x</b>",
    fault=RowFault.DOMAIN,
    why="no such domain",
)


def validate(*rows: Row) -> Validation:
    return validate_rows(rows, criteria=CRITERIA)


def test_valid_rows_pass_and_none_is_bad() -> None:
    validation = validate(GOOD, GOOD)
    acceptance = decide([GOOD, GOOD], bad=validation.bad, criteria_met=validation.success, criteria=CRITERIA)
    assert (validation.success, validation.bad, acceptance.bad_share) == (True, (), 0.0)


@pytest.mark.parametrize(("good", "passes"), [(3, False), (4, True), (9, True)])
def test_bad_rows_pass_up_to_the_limit(good: int, passes: bool) -> None:  # noqa: FBT001
    validation = validate(*[GOOD] * good, BAD)
    assert validation.success is passes
    assert validation.success is has_acceptable_share(bad=1, rows=good + 1, max_bad_share=0.2)
    assert validation.bad == (good,)


def test_rows_with_different_faults_add_up() -> None:
    other = Row(where="a:3", fault=RowFault.UNREADABLE, why="no JSON")
    assert not validate(*[GOOD] * 7, BAD, other, other).success


@pytest.mark.parametrize("fault", RowFault)
def test_a_row_of_any_fault_is_bad(fault: RowFault) -> None:
    validation = validate(*[GOOD] * 3, Row(where="a:4", domain="integration", fault=fault, why="it is bad"))
    assert (validation.success, validation.bad) == (False, (3,))


def test_an_empty_intake_does_not_pass() -> None:
    assert not validate().success


def test_the_page_is_self_contained_and_escaped() -> None:
    page = data_docs(validate(GOOD, BAD).result)
    assert not re.search(r"""(src|href)=["']https?:|url\(|@import|<script""", page)
    assert "&lt;img src=x onerror=alert(1)&gt; $1 ${x}" in page
    assert "<img" not in page
    assert "unexpected" in page
