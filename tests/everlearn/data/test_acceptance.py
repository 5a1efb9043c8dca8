"""The share of bad rows that stops a night, and the rows that go to quarantine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.acceptance import AcceptanceCriteria, decide, has_acceptable_share
from everlearn.data.rows import Row, RowFault
from everlearn.errors import BadDataError

CRITERIA = AcceptanceCriteria(domains=("integration",), max_bad_share=0.2)
GOOD = Row(where="a:1", statement="x", canonical="x")
BAD = Row(where="a:2", fault=RowFault.UNREADABLE, why="the line is no JSON object")


@pytest.mark.parametrize(("bad", "accepted"), [(0, True), (2, True), (3, False), (10, False)])
def test_bad_rows_are_accepted_up_to_the_limit(bad: int, accepted: bool) -> None:  # noqa: FBT001
    assert has_acceptable_share(bad=bad, rows=10, max_bad_share=0.2) is accepted


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_no_bad_row_is_accepted_and_one_more_never_helps(rows: int, share: float) -> None:
    assert has_acceptable_share(bad=0, rows=rows, max_bad_share=share)
    results = [has_acceptable_share(bad=bad, rows=rows, max_bad_share=share) for bad in range(min(rows, 50) + 1)]
    assert results == sorted(results, reverse=True)


def test_accepted_rows_may_have_a_quarantine() -> None:
    acceptance = decide([GOOD, BAD], bad=(1,), criteria_met=True, criteria=CRITERIA)
    assert acceptance.quarantined == (BAD,)
    assert acceptance.bad_share == 0.5
    acceptance.require_accepted(quarantine="s3://b/quarantine.jsonl")


def test_refused_rows_are_explained_by_the_first_reasons() -> None:
    acceptance = decide([GOOD, *[BAD] * 4], bad=(4, 3, 2, 1), criteria_met=False, criteria=CRITERIA)
    with pytest.raises(
        BadDataError, match=r"4 of 5 new rows are bad \(80%, at most 20% may be\): a:2: the line"
    ) as error:
        acceptance.require_accepted(quarantine="s3://b/quarantine.jsonl")
    assert str(error.value).count("a:2") == 3
    assert str(error.value).endswith("s3://b/quarantine.jsonl")


def test_no_rows_have_no_bad_share() -> None:
    assert decide([], bad=(), criteria_met=False, criteria=CRITERIA).bad_share == 0.0
