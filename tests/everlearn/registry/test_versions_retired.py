"""A retired version stays in the history, but can be neither pulled nor used as a parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.errors import IntegrityError, RegistryError, StaleParentError
from everlearn.registry.event_log import EventLog
from everlearn.registry.events import Draft
from everlearn.registry.versions import EventKind, Registry
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, candidate, open_line, publish

if TYPE_CHECKING:
    from pathlib import Path


def retire(store: MemoryStore, *versions: str) -> None:
    chain = EventLog(store, LINE, clock=Clock(), signer=SIGNER, verifier=VERIFIER)
    chain.append(lambda _: Draft(kind=EventKind.RETIRED, actor="gc", reason="old", detail={"versions": list(versions)}))


@pytest.fixture
def store() -> MemoryStore:
    """Return a line whose champion is v0001; v0002 never was champion and is retired."""
    store = MemoryStore()
    line = open_line(store)
    publish(line, "one")
    publish(line, "two", champion=False)
    retire(store, "v0002")
    return store


@pytest.fixture
def line(store: MemoryStore) -> Registry:
    return open_line(store)


def test_retired_version_cannot_be_pulled_or_promoted(line: Registry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="v0002 is retired: its files were removed"):
        line.pull("v0002", to=tmp_path / "adapter")
    with pytest.raises(RegistryError, match="v0002 is retired"):
        line.promote("v0002", reason="better", actor="ada")
    with pytest.raises(RegistryError, match="v0002 is retired"):
        line.rollback("v0002", reason="better", actor="ada")
    assert not (tmp_path / "adapter").exists()


def test_retired_version_cannot_be_a_parent(line: Registry) -> None:
    manifest = candidate(line, "three", parent="v0002")
    with pytest.raises(StaleParentError, match="which was retired since"):
        line.publish(manifest, make_champion=False, actor="night", reason="better")


def test_retired_number_and_data_stay_claimed(line: Registry) -> None:
    claimed = line.state().claimed
    assert publish(line, "three") == "v0003"
    assert line.state().claimed[: len(claimed)] == claimed


def test_former_champion_cannot_be_retired(store: MemoryStore, line: Registry) -> None:
    publish(line, "three")
    for version in ("v0001", "v0003"):
        with pytest.raises(IntegrityError, match=f"{version} was champion once"):
            retire(store, version)
