"""The record of a line: what it holds, which suites it guards, and that it survives storage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.memory_suite import PREFIX
from everlearn.data.suites import Suite, SuiteKind
from everlearn.errors import IntegrityError
from everlearn.gate.record_of_line import (
    RecordedItem,
    from_json,
    guarded_suites,
    holder_of,
    item_key,
    memory_after,
    memory_parts,
    policy_of_night,
    record_after,
    record_answers,
    to_json,
    unrecorded,
    way_of_asking,
)
from everlearn.problem import Problem
from everlearn.settings import Settings
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import candidate, open_line, publish

A, B = (Problem(id=name, domain="numbers", statement=name, reference="7") for name in "ab")


def suite(name: str, kind: SuiteKind, *problems: Problem) -> Suite:
    return Suite(name=name, kind=kind, problems=problems)


def test_memory_is_guarded_as_one_suite_and_tonights_suites_not_at_all() -> None:
    suites = [
        suite("target", SuiteKind.TARGET, A),
        suite("memory-v0001", SuiteKind.MEMORY, A),
        suite("memory-v0002", SuiteKind.MEMORY, B),
        suite("short", SuiteKind.SKILL, A, B),
    ]
    guarded = {each.name: each.problems for each in guarded_suites(suites)}
    assert guarded == {"memory-all": (A, B), "short": (A, B)}


def test_the_nights_of_the_memory_are_known_in_their_order() -> None:
    suites = [suite("memory-v0001", SuiteKind.MEMORY, A, B), suite("short", SuiteKind.SKILL, A)]
    assert memory_parts([*suites, suite("memory-v0002", SuiteKind.MEMORY, B)]) == (
        ("memory-v0001", 2),
        ("memory-v0002", 1),
    )


def test_only_the_policy_of_most_items_holds_a_record() -> None:
    record = record_answers([A], ["1"], policy="v0001", asked="one way") | record_answers(
        [B], ["1"], policy=policy_of_night("c" * 64), asked="one way"
    )
    assert holder_of([record[item_key(A)]] * 2 + [record[item_key(B)]]) == "v0001"
    assert holder_of([*record.values()]) is None
    assert record[item_key(B)].policy == "night cccccccccccc"


def test_answers_are_counted_by_item_and_undecided_ones_count_as_right() -> None:
    record = record_answers([A, B], ["1u", "1u", "00", "11"], policy="v0001", asked="one way")
    assert record[item_key(A)] == RecordedItem(right=3, undecided=0, samples=4, policy="v0001", asked="one way")
    assert record[item_key(B)].share == 0.75
    assert record[item_key(B)].doubted == 0.5


def test_items_that_are_not_recorded_are_named_once_and_so_are_those_that_were_asked_otherwise() -> None:
    suites = [suite("short", SuiteKind.SKILL, A, B), suite("long", SuiteKind.SKILL, B)]
    record = record_answers([A], ["1"], policy="base", asked="one way")
    assert unrecorded(suites, record, asked="one way") == [B]
    assert unrecorded(suites, record, asked="another") == [A, B]


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"gate": {"look_temperature": 0.3}}, True),
        ({"format": {"system": "Calculate."}}, True),
        ({"compute": {"quantization": "nf4", "policy": "hub"}}, True),
        ({"gate": {"alpha": 0.01}, "learn": {"rate": 1e-4}, "threads": 2}, False),
        ({"format": {"system": ""}}, False),
    ],
)
def test_the_way_of_asking_is_what_answers_depend_on(change: dict[str, Any], *, is_another: bool) -> None:
    asked = way_of_asking(Settings(**change).model_dump(mode="json"))
    assert (asked != way_of_asking(Settings().model_dump(mode="json"))) == is_another
    assert way_of_asking({}) == way_of_asking(Settings().model_dump(mode="json")), "of a revision without them"


def test_a_record_of_an_older_revision_was_asked_as_the_settings_of_its_night_say() -> None:
    registry, record = open_line(MemoryStore()), record_answers([A], ["1"], policy="base", asked="")
    config = {"gate": {"look_temperature": 0.3}}
    manifest = replace(candidate(registry, "recorded"), record=registry.put_object(to_json(record)), config=config)
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    [item] = record_after("v0001", registry).values()
    assert item.asked == way_of_asking(config) != way_of_asking({})


@given(st.text(max_size=5), st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=5))
def test_a_key_tells_problems_apart_and_hides_the_reference(statement: str, one: str, other: str) -> None:
    keys = {
        reference: item_key(Problem(id="x", domain="numbers", statement=statement, reference=reference))
        for reference in (one, other)
    }
    assert len(set(keys.values())) == len({one, other})
    assert all(len(key) == 32 for key in keys.values())


def test_a_record_survives_storage_and_damage_is_named() -> None:
    record = record_answers([A, B], ["1u", "01"], policy="night 0123456789ab", asked="one way")
    assert from_json(to_json(record)) == record
    for damaged in (b"", b"[]", b'{"items": {"a": [1, 2]}}'):
        with pytest.raises(IntegrityError, match="not the record of a line"):
            from_json(damaged)


def test_nights_that_leave_no_record_or_memory_keep_those_before_them() -> None:
    registry, record = open_line(MemoryStore()), record_answers([A], ["1"], policy="base", asked="one way")
    memory = suite(PREFIX, SuiteKind.MEMORY, A)
    publish(registry, "without")
    assert record_after("v0001", registry) == record_after(None, registry) == {}
    assert memory_after("v0001", registry) is None
    manifest = candidate(registry, "remembered", parent="v0001")
    keep = registry.put_object
    manifest = replace(manifest, record=keep(to_json(record)), memory=keep(memory.to_jsonl().encode()))
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    for name in ("one", "two"):
        publish(registry, name)
    assert record_after("v0004", registry) == record
    assert memory_after("v0004", registry) == memory
