"""A snapshot holds each new problem once, as bytes that do not depend on the order of arrival."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.rows import Row, RowFault
from everlearn.data.snapshot import Snapshot, Watermark, take
from everlearn.domains.contract import load_domain
from everlearn.errors import IntegrityError

DOMAIN = load_domain("integration")
STATEMENTS = [f"{a}*x^{b}" for a in range(1, 6) for b in range(1, 6)]


def row(statement: str, *, name: str | None = None, fault: RowFault | None = None) -> Row:
    canonical = None if fault else DOMAIN.canonical(statement)
    return Row(where="a:1", id=name, domain="integration", statement=statement, canonical=canonical, fault=fault)


def taken(*rows: Row, watermark: Watermark | None = None) -> Snapshot:
    return take(rows, sources=("b", "a"), watermark=watermark or Watermark())[0]


def test_each_row_is_counted_once() -> None:
    known = taken(row("x^2"))
    rows = [
        row("x^2"),
        row("x"),
        row("x"),
        row("1*x"),
        row("?", fault=RowFault.GRAMMAR),
        row("!", fault=RowFault.GRAMMAR),
    ]
    snapshot, counts = take(rows, sources=(), watermark=Watermark.of([known]))
    assert [entry.statement for entry in snapshot.entries] == ["1*x"]
    assert (counts.accepted, counts.duplicates, counts.seen) == (1, 2, 1)
    assert counts.quarantined == {"outside the grammar": 2}


def test_a_row_without_canonical_form_is_quarantined() -> None:
    _, counts = take([replace(row("x"), canonical=None)], sources=(), watermark=Watermark())
    assert counts.quarantined == {"not usable": 1}


@given(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=20), st.integers(0, 1000))
def test_the_order_of_arrival_does_not_matter(statements: list[str], seed: int) -> None:
    rows = [row(statement, name=f"id {index % 3}") for index, statement in enumerate(statements)]
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert taken(*rows).to_bytes() == taken(*shuffled).to_bytes()


@given(st.lists(st.sampled_from(STATEMENTS), max_size=30))
def test_claimed_problems_are_not_taken_again(statements: list[str]) -> None:
    rows = [row(statement) for statement in statements]
    first = taken(*rows)
    assert taken(*rows, watermark=Watermark.of([first])).entries == ()
    assert Snapshot.from_bytes(first.to_bytes(), digest=first.digest) == first


def test_repeated_ids_are_made_unique() -> None:
    ids = [entry.id for entry in taken(row("x", name="a"), row("x^2", name="a"), row("x^3")).entries]
    assert len(set(ids)) == 3
    assert "a" in ids


def test_of_equal_problems_one_with_a_reference_is_taken() -> None:
    bare, referenced = row("x", name="a"), replace(row("x", name="b"), reference="x^2/2")
    for rows in ((bare, referenced), (referenced, bare), (replace(bare, id=None), replace(referenced, id=None))):
        assert [entry.reference for entry in taken(*rows).entries] == ["x^2/2"]


def test_an_id_that_looks_like_a_repeated_one_is_made_unique_as_well() -> None:
    repeated = taken(row("x", name="a"), row("x^2", name="a"), row("x^3", name="b"))
    [made] = [entry.id for entry in repeated.entries if "~" in entry.id]
    ids = [entry.id for entry in taken(row("x", name="a"), row("x^2", name="a"), row("2*x", name=made)).entries]
    assert len(set(ids)) == 3


def test_bytes_with_another_digest_are_refused() -> None:
    snapshot = taken(row("x"))
    with pytest.raises(IntegrityError, match="other bytes"):
        Snapshot.from_bytes(snapshot.to_bytes() + b"\n", digest=snapshot.digest)


def test_a_reference_belongs_to_the_digest_and_to_no_older_snapshot() -> None:
    rows = [
        Row(where="w", id="a", domain="d", statement="x", canonical="x", reference=given) for given in (None, "1", "2")
    ]
    snapshots = [take([row], sources=[], watermark=Watermark())[0] for row in rows]
    assert len({snapshot.digest for snapshot in snapshots}) == 3
    assert b"reference" not in snapshots[0].to_bytes()
    for snapshot in snapshots:
        assert Snapshot.from_bytes(snapshot.to_bytes(), digest=snapshot.digest) == snapshot
    both = take(rows[:0:-1], sources=[], watermark=Watermark())[0]
    assert [entry.problem.reference for entry in both.entries] == ["1"], (
        "of equal problems the order of arrival is no reason"
    )
