"""Versions that await approval: invisible to consumers before, and recorded with actor and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.errors import RegistryError
from everlearn.registry.events import Draft, EventKind
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry


@pytest.fixture
def registry() -> Registry:
    """Return a line with a champion and two versions that await approval."""
    line = open_line(MemoryStore())
    publish(line, "first")
    for name in ("second", "third"):
        publish(line, name, champion=False)
    return line


def test_approved_version_becomes_champion_with_actor_and_reason(registry: Registry) -> None:
    assert registry.state().waiting == ("v0002", "v0003")
    registry.approve("v0003", reason="I have read its report", actor="Ada")
    state = registry.state()
    assert (state.champion, state.waiting) == ("v0003", ("v0002",))
    approved, promoted = state.history[-2:]
    assert (approved.kind, approved.actor, approved.reason) == (EventKind.APPROVED, "Ada", "I have read its report")
    assert (promoted.kind, promoted.reason) == (EventKind.PROMOTED, "approved: I have read its report")


def test_repeated_approval_completes_an_interrupted_one(registry: Registry) -> None:
    cut_short = Draft(kind=EventKind.APPROVED, actor="Ada", reason="good", detail={"version": "v0002"})
    registry._log.append(lambda _: cut_short)
    assert "v0002" in registry.state().waiting
    before = len(registry.state().history)
    registry.approve("v0002", reason="good", actor="Ada")
    assert registry.state().champion == "v0002"
    assert [event.kind for event in registry.state().history[before:]] == [EventKind.PROMOTED], "approved once"


def test_repeating_an_old_approval_changes_nothing(registry: Registry) -> None:
    for version in ("v0002", "v0003"):
        registry.approve(version, reason="good", actor="Ada")
    before = len(registry.state().history)
    registry.approve("v0002", reason="good", actor="Ada")
    assert registry.state().champion == "v0003"
    assert len(registry.state().history) == before


def test_refused_version_never_becomes_champion(registry: Registry) -> None:
    for _ in range(2):
        assert registry.refuse("v0002", reason="too long", actor="Ada").barred
    state = registry.state()
    assert (state.champion, state.waiting) == ("v0001", ("v0003",))
    assert [event.kind for event in state.history if event.actor == "Ada"] == [EventKind.BARRED]
    with pytest.raises(RegistryError, match="v0002 is barred"):
        registry.approve("v0002", reason="after all", actor="Ada")


def test_champion_cannot_be_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="v0001 does not await approval; use `everlearn rollback`"):
        registry.refuse("v0001", reason="no", actor="Ada")


def test_only_a_version_that_waits_is_approved_and_champion_names_it_everywhere() -> None:
    line = open_line(MemoryStore())
    publish(line, "one")
    publish(line, "two")
    line.rollback(reason="slow", actor="ada", keep=True)
    before = line.state().sequence
    for version in ("v0002", "champion"):
        with pytest.raises(RegistryError, match="does not await approval"):
            line.approve(version, reason="r", actor="ada")
    assert line.promote("champion", reason="r", actor="ada").version == "v0001"
    assert line.unbar("champion", reason="r", actor="ada").version == "v0001"
    assert line.state().sequence == before


def test_a_version_whose_parent_was_barred_since_is_approved_only_after_the_bar_is_lifted(registry: Registry) -> None:
    registry.rollback(reason="answers got longer", actor="Ada")
    before = registry.state()
    assert before.versions["v0003"].parent == "v0001"
    for crown in (registry.approve, registry.promote):
        with pytest.raises(RegistryError, match="v0003 was trained from v0001, which was barred since"):
            crown("v0003", reason="I have read its report", actor="Ada")
    assert registry.state() == before, "nothing was recorded"
    registry.unbar("v0001", reason="they did not", actor="Ada")
    assert registry.approve("v0003", reason="I have read its report", actor="Ada").approved
    assert registry.state().champion == "v0003"


def test_a_version_that_was_champion_can_be_returned_to_after_its_parent_was_barred(registry: Registry) -> None:
    for version in ("v0002", "v0003"):
        registry.approve(version, reason="good", actor="Ada")
    registry.bar("v0001", reason="its data", actor="Ada")
    assert registry.rollback(reason="worse", actor="Ada").to == "v0002"
