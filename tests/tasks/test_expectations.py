"""The suite as code, and its Data Docs as a page that needs nothing from outside."""

from __future__ import annotations

import re

import pytest

from everlearn.data.rows import Row, RowFault
from tasks.data_docs import data_docs
from tasks.expectations import Validation, validate_rows

GOOD = Row(where="a:1", domain="integration", statement="x", canonical="x")
BAD = Row(
    where="a:2",
    domain="<img src=x onerror=alert(1)> $1 ${x}",
    statement="<b>x</b>",
    fault=RowFault.DOMAIN,
    why="no such domain",
)


def validate(*rows: Row) -> Validation:
    return validate_rows(rows, domains=["integration"], max_bad_share=0.2, max_length=100)


def test_good_rows_pass_and_none_is_bad() -> None:
    found = validate(GOOD, GOOD)
    assert (found.success, found.bad, found.bad_share) == (True, (), 0.0)


@pytest.mark.parametrize(("good", "passes"), [(3, False), (4, True), (9, True)])
def test_a_share_of_bad_rows_is_let_through_up_to_the_limit(good: int, passes: bool) -> None:  # noqa: FBT001
    found = validate(*[GOOD] * good, BAD)
    assert found.success is passes
    assert found.bad == (good,)


def test_small_faults_of_different_kinds_add_up() -> None:
    other = Row(where="a:3", fault=RowFault.UNREADABLE, why="no JSON")
    assert not validate(*[GOOD] * 7, BAD, other, other).success


def test_no_rows_are_no_success() -> None:
    assert not validate().success


def test_the_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    page = data_docs(validate(GOOD, BAD).result)
    assert not re.search(r"""(src|href)=["']https?:|url\(|@import|<script""", page)
    assert "&lt;img src=x onerror=alert(1)&gt; $1 ${x}" in page
    assert "<img" not in page
    assert "unexpected" in page
