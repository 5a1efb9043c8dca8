from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError
from everlearn.registry.events import Event, EventKind
from tests.support.line import WHEN

EVENT = Event(sequence=3, previous="p", kind=EventKind.BARRED, actor="ada", reason="because", at=WHEN, digest="d")


@given(
    kind=st.sampled_from(EventKind),
    cycle_key=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    detail=st.dictionaries(st.text("abc"), st.integers() | st.booleans() | st.none(), max_size=3),
    snapshot=st.none() | st.just("5" * 64),
)
def test_event_survives_json(
    kind: EventKind, cycle_key: str | None, detail: dict[str, Any], snapshot: str | None
) -> None:
    event = replace(EVENT, kind=kind, cycle_key=cycle_key, detail=detail, snapshot=snapshot)
    content = parse(canonical(event.to_content()), name="it")
    assert Event.from_content(content, digest=event.digest) == event


@pytest.mark.parametrize(
    ("kind", "detail", "sentence"),
    [
        (EventKind.PUBLISHED, {"version": "v0002", "champion": True}, "published v0002 as champion: because"),
        (EventKind.PUBLISHED, {"version": "v0002", "champion": False}, "published v0002: because"),
        (EventKind.ROLLED_BACK, {"from": "v0002", "to": "v0001"}, "rolled back v0002 to v0001: because"),
        (EventKind.ROLLED_BACK, {"from": "v0001", "to": None}, "rolled back v0001 to the base model: because"),
        (EventKind.RETIRED, {"versions": ["v0003", "v0004"]}, "retired v0003, v0004: because"),
        (EventKind.NO_NEW_DATA, {}, "no new data: because"),
    ],
)
def test_sentence_summarizes_an_event(kind: EventKind, detail: dict[str, Any], sentence: str) -> None:
    assert replace(EVENT, kind=kind, detail=detail).sentence == sentence


@pytest.mark.parametrize("change", [{"kind": "vanished"}, {"at": "yesterday"}, {"colour": "red"}, {"kind": None}])
def test_event_with_unknown_kind_or_field_is_refused(change: dict[str, Any]) -> None:
    content = EVENT.to_content() | change
    with pytest.raises(IntegrityError, match="cannot be read by this version of Everlearn"):
        Event.from_content(content, digest="abc")
