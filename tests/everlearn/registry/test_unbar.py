"""An unbarred version is again what it was before it was barred."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.errors import RegistryError
from everlearn.registry.event_log import EventLog
from everlearn.registry.events import Draft, EventKind
from everlearn.registry.maintenance.fsck import fsck
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, candidate, open_line, publish


def test_unbarred_version_can_be_champion_and_parent() -> None:
    store = MemoryStore()
    line = open_line(store)
    publish(line, "one")
    line.rollback(reason="worse", actor="ada")
    assert not line.unbar("v0001", reason="it was the source", actor="ada").barred
    assert line.state().champion is None, "the champion does not change"
    line.promote("v0001", reason="again", actor="ada")
    assert publish(line, "two") == "v0002"
    line.rollback(reason="worse", actor="ada")
    assert line.state().champion == "v0001"
    assert fsck(store, LINE, verifier=VERIFIER).is_clean


def test_data_stays_flagged_while_another_version_of_it_is_barred() -> None:
    line = open_line(MemoryStore())
    for name in ("one", "two"):
        manifest = replace(candidate(line, name, parent=None), data_digest="d" * 64)
        line.publish(manifest, make_champion=True, actor="night", reason="better")
        line.rollback(reason="worse", actor="ada")
    line.unbar("v0001", reason="r", actor="ada")
    assert line.state().flagged == ("d" * 64,)
    line.unbar("v0002", reason="r", actor="ada")
    assert line.state().flagged == ()


def test_unbar_is_idempotent_and_refuses_retired_versions() -> None:
    store = MemoryStore()
    line = open_line(store)
    publish(line, "one", champion=False)
    line.refuse("v0001", reason="too long", actor="ada")
    line.unbar("v0001", reason="r", actor="ada")
    line.unbar("v0001", reason="r", actor="ada")
    assert line.state().sequence == 3
    line.refuse("v0001", reason="too long", actor="ada")
    retired = Draft(kind=EventKind.RETIRED, actor="ada", reason="r", detail={"versions": ["v0001"]})
    EventLog(store, LINE, clock=Clock(), signer=SIGNER, verifier=VERIFIER).append(lambda _: retired)
    with pytest.raises(RegistryError, match="v0001 is retired"):
        open_line(store).unbar("v0001", reason="r", actor="ada")


def test_unbarring_lifts_the_flag_of_a_version_that_was_kept() -> None:
    line = open_line(MemoryStore())
    publish(line, "one")
    line.rollback(reason="slow", actor="ada", keep=True)
    assert line.state().flagged
    line.unbar("v0001", reason="the data is fine", actor="ada")
    assert line.state().flagged == ()
    line.unbar("v0001", reason="again", actor="ada")
    assert line.state().sequence == 3
