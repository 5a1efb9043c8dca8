"""Choices in the forms of the deployments."""

from __future__ import annotations

from typing import Any

import pytest

from everlearn.orchestration.form_choices import (
    FORMS,
    approval_choices,
    promotion_choices,
    rollback_choices,
    with_choices,
)
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish


def schema() -> dict[str, Any]:
    properties = {"version": {"type": "string"}, "keep": {"type": "boolean"}}
    return {"definitions": {"Config": {"properties": properties}, "Other": {}}}


def test_forms_list_usable_versions_newest_first() -> None:
    registry = open_line(MemoryStore())
    for name in ("one", "two", "three"):
        publish(registry, name)
    registry.rollback(reason="worse", actor="op")
    waiting = publish(registry, "four", champion=False)
    state = registry.state()
    assert (state.champion, waiting) == ("v0002", "v0004")
    assert rollback_choices(state) == ["last good", "base", "v0004", "v0001"]
    assert promotion_choices(state) == ["v0004", "v0001"]
    assert approval_choices(state) == ["v0004"]
    assert set(FORMS) == {"roll-back", "promote", "approve"}


def test_choices_restrict_one_field_and_leave_the_schema_alone() -> None:
    given = schema()
    restricted = with_choices(given, field="version", choices=["v0001"])
    assert restricted["definitions"]["Config"]["properties"]["version"] == {"type": "string", "enum": ["v0001"]}
    assert given == schema()
    assert with_choices(restricted, field="version", choices=[]) == schema()


@pytest.mark.parametrize("field", ["keep", "nothing"])
def test_only_text_fields_are_restricted(field: str) -> None:
    assert with_choices(schema(), field=field, choices=["v0001"]) == schema()
