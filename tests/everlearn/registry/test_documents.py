"""Report, provenance, bill of materials and memory are kept, checked and signed like the files, but never delivered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import canonical
from everlearn.errors import IntegrityError
from everlearn.registry.delivery import RECEIPT
from everlearn.registry.maintenance.fsck import fsck
from everlearn.registry.maintenance.gc import collect
from everlearn.settings import RetentionSettings
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, VERIFIER, ManualClock, candidate, open_line
from tests.support.versioned_store import erase

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.registry.manifest import Manifest
    from everlearn.registry.versions import Registry

DOCUMENTS = ("report", "provenance", "bom", "memory")


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(time: ManualClock) -> MemoryStore:
    return MemoryStore(time)


def with_documents(line: Registry) -> Manifest:
    made = candidate(line, "one", report=True)
    refs = {name: line.put_object(canonical({"of": name})) for name in ("provenance", "bom", "memory")}
    return replace(made, provenance=refs["provenance"], bom=refs["bom"], memory=refs["memory"])


def published(store: MemoryStore) -> Manifest:
    line = open_line(store)
    manifest = with_documents(line)
    line.publish(manifest, make_champion=True, actor="night", reason="better")
    return manifest


def test_documents_are_never_delivered(store: MemoryStore, tmp_path: Path) -> None:
    manifest = published(store)
    assert open_line(store).manifest("champion") == manifest
    there = open_line(store).pull("champion", to=tmp_path / "adapter")
    assert {path.name for path in there.iterdir()} == {*manifest.files, RECEIPT}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_version_with_a_missing_document_is_not_published(store: MemoryStore, name: str) -> None:
    line = open_line(store)
    manifest = with_documents(line)
    key = object_key(LINE, manifest.documents()[name].digest)
    erase(store, key)
    with pytest.raises(IntegrityError, match=key):
        line.publish(manifest, make_champion=True, actor="night", reason="better")
    assert open_line(store).state().champion is None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_fsck_reports_missing_or_damaged_documents(store: MemoryStore, name: str) -> None:
    key = object_key(LINE, published(store).documents()[name].digest)
    good = store.get(key).data
    store.put(key, good[:-1] + b"!")
    assert [fault.key for fault in fsck(store, LINE, verifier=VERIFIER).damaged] == [key]
    erase(store, key)
    missing = fsck(store, LINE, verifier=VERIFIER).missing
    assert [(fault.key, fault.why) for fault in missing] == [(key, f"v0001 needs it (its {name})")]


def test_collection_keeps_documents(store: MemoryStore, time: ManualClock) -> None:
    manifest = published(store)
    open_line(store).put_object(b"forgotten")
    time.now += timedelta(days=400)
    collect(open_line(store), RetentionSettings(versions=0), actor="ada", wait=time.wait)
    held = {info.key for info in store.list(f"{LINE}/objects/")}
    assert held == {object_key(LINE, ref.digest) for ref in manifest.references()}
    assert fsck(store, LINE, verifier=VERIFIER).is_clean
