"""Operations of the registry, mostly on a store in memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import BadInputError, IntegrityError, RegistryError, StaleParentError, StoreError
from everlearn.registry import event_log
from everlearn.registry.signing import Unsigned
from everlearn.registry.versions import BASE, EventKind, Registry
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, SIGNER, VERIFIER, Clock, adapter, candidate, open_line, publish

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.storage.protocol import Blob
    from everlearn.storage.s3 import S3Store


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def line(store: MemoryStore) -> Registry:
    return open_line(store)


def roll_back(line: Registry, to: str | None = None, *, keep: bool = False) -> tuple[str, str | None]:
    done = line.rollback(to, reason="answers got worse", actor="ada", keep=keep)
    return done.left, done.to


def test_new_line_is_empty(line: Registry) -> None:
    assert line.state().sequence == 0
    with pytest.raises(RegistryError, match="has no champion: the base model alone is in use"):
        line.resolve("champion")
    with pytest.raises(RegistryError, match="has no version 'v0001'; the latest are: none yet"):
        line.resolve("v0001")


def test_published_version_is_champion_with_its_origin(line: Registry) -> None:
    manifest = candidate(line, "one", report=True)
    entry = line.publish(manifest, make_champion=True, actor="night", reason="31 points better")
    assert (entry.version, entry.parent, entry.actor, entry.reason) == ("v0001", None, "night", "31 points better")
    assert line.resolve("champion") == entry
    assert line.manifest("champion") == manifest
    assert line.state().claimed == (manifest.data_digest,)
    assert open_line(line.store).state() == line.state()


def test_publishing_moves_head_once(store: MemoryStore, line: Registry) -> None:
    publish(line, "one")
    assert line.state().sequence == 1
    assert [event.kind for event in line.state().history] == [EventKind.PUBLISHED]


def test_publishing_the_same_cycle_again_changes_nothing(store: MemoryStore, line: Registry) -> None:
    manifest = candidate(line, "one")
    first = line.publish(manifest, make_champion=True, actor="night", reason="better")
    held = {info.key: info.etag for info in store.list()}
    again = open_line(store).publish(manifest, make_champion=True, actor="night", reason="once more")
    assert again == first
    assert {info.key: info.etag for info in store.list()} == held


def test_version_can_be_published_without_becoming_champion(line: Registry) -> None:
    publish(line, "one")
    publish(line, "two", champion=False)
    assert line.state().champion == "v0001"
    assert line.promote("v0002", reason="looks good", actor="ada").version == "v0002"
    assert line.state().champion == "v0002"


def test_promoting_the_champion_changes_nothing(line: Registry) -> None:
    publish(line, "one")
    line.promote("v0001", reason="sure is sure", actor="ada")
    assert line.state().sequence == 1


def test_equal_bytes_are_stored_once(store: MemoryStore, line: Registry) -> None:
    assert line.put_object(b"bytes") == line.put_object(b"bytes")
    assert len(list(store.list(f"{LINE}/objects/"))) == 1
    assert line.get_object(line.put_object(b"bytes")) == b"bytes"


def test_candidate_of_another_parent_does_not_become_champion(line: Registry) -> None:
    late = candidate(line, "late")
    publish(line, "one")
    with pytest.raises(StaleParentError, match=r"began at the base model, but v0001 is champion now; run another"):
        line.publish(late, make_champion=True, actor="night", reason="better")
    assert line.publish(late, make_champion=False, actor="night", reason="for review").version == "v0002"


def test_candidate_whose_parent_was_rolled_back_is_refused(line: Registry) -> None:
    publish(line, "one")
    heir = candidate(line, "heir", parent="v0001")
    roll_back(line)
    ended = line.state().history[0].cycle_key
    assert ended
    line.require_parent("v0001", cycle_key=ended, make_champion=True)  # its night has ended: nothing is left to check
    with pytest.raises(StaleParentError, match="v0001, which was barred since"):
        line.publish(heir, make_champion=False, actor="night", reason="better")
    unbarred = candidate(line, "other", parent=None)
    assert line.publish(unbarred, make_champion=True, actor="night", reason="better").version == "v0002"


def test_candidate_after_a_rollback_to_base_names_the_base(line: Registry) -> None:
    publish(line, "one")
    heir = candidate(line, "heir", parent="v0001")
    roll_back(line, keep=True)
    with pytest.raises(StaleParentError, match="began at v0001, but the base model is champion now"):
        line.publish(heir, make_champion=True, actor="night", reason="better")


def test_line_belongs_to_one_base_model(line: Registry) -> None:
    publish(line, "one")
    foreign = candidate(line, "foreign", parent="v0001", base="c" * 64)
    with pytest.raises(RegistryError, match="belongs to another base model"):
        line.publish(foreign, make_champion=True, actor="night", reason="better")


def test_candidate_with_missing_objects_is_refused(store: MemoryStore, line: Registry) -> None:
    manifest = candidate(line, "one")
    store.delete(f"{LINE}/objects/sha256/{manifest.files['adapter_config.json'].digest}")
    with pytest.raises(IntegrityError, match="is missing"):
        line.publish(manifest, make_champion=True, actor="night", reason="better")
    assert line.state().sequence == 0


def test_cycles_without_a_version_are_recorded_once(line: Registry) -> None:
    for kind in (EventKind.REJECTED, EventKind.INSUFFICIENT, EventKind.NO_NEW_DATA):
        for _ in range(2):
            event = line.record(kind, cycle_key=str(kind), reason="7 lost", actor="night", detail={"p_value": 0.5})
            assert (event.kind, event.reason, event.detail) == (kind, "7 lost", {"p_value": 0.5})
    assert [event.kind for event in line.state().history] == [
        EventKind.REJECTED,
        EventKind.INSUFFICIENT,
        EventKind.NO_NEW_DATA,
    ]
    assert line.state().claimed == ()


def test_cycle_ends_in_one_way_only(line: Registry) -> None:
    manifest = candidate(line, "one")
    line.record(EventKind.REJECTED, cycle_key=manifest.cycle_key, reason="worse", actor="night", detail={})
    with pytest.raises(RegistryError, match="ended as rejected before"):
        line.publish(manifest, make_champion=True, actor="night", reason="better")
    with pytest.raises(RegistryError, match="ended as rejected before"):
        line.record(EventKind.INSUFFICIENT, cycle_key=manifest.cycle_key, reason="?", actor="night", detail={})


def test_only_the_end_of_a_cycle_can_be_recorded(line: Registry) -> None:
    with pytest.raises(RegistryError, match="a night without a version cannot end as published"):
        line.record(EventKind.PUBLISHED, cycle_key="k", reason="r", actor="night", detail={})


def test_rollbacks_return_through_good_champions_to_the_base(line: Registry) -> None:
    for name in ("one", "two", "three"):
        publish(line, name)
    flagged = [line.state().versions[each].data_digest for each in ("v0003", "v0002", "v0001")]
    assert roll_back(line) == ("v0003", "v0002")
    assert roll_back(line) == ("v0002", "v0001")
    assert roll_back(line) == ("v0001", None)
    assert line.state().barred == ("v0001", "v0002", "v0003")
    assert list(line.state().flagged) == flagged
    with pytest.raises(RegistryError, match="the base model alone is in use; there is nothing to roll back"):
        roll_back(line)


def test_rollback_accepts_an_explicit_target(line: Registry) -> None:
    for name in ("one", "two", "three"):
        publish(line, name)
    assert roll_back(line, "v0001") == ("v0003", "v0001")
    assert roll_back(line, BASE) == ("v0001", None)


def test_rollback_can_keep_the_version_it_leaves(line: Registry) -> None:
    publish(line, "one")
    publish(line, "two")
    assert roll_back(line, keep=True) == ("v0002", "v0001")
    assert line.state().barred == ()
    assert line.promote("v0002", reason="it was not the adapter", actor="ada").version == "v0002"


def test_barred_version_never_becomes_champion_again(line: Registry) -> None:
    publish(line, "one")
    publish(line, "two")
    roll_back(line)
    with pytest.raises(RegistryError, match="v0002 is barred; not barred: v0001"):
        line.promote("v0002", reason="r", actor="ada")
    roll_back(line)
    with pytest.raises(RegistryError, match="v0001 is barred; not barred: none, but base"):
        line.promote("v0001", reason="r", actor="ada")


def test_rollback_to_the_champion_is_refused(line: Registry) -> None:
    publish(line, "one")
    for ref in ("v0001", "champion"):
        with pytest.raises(RegistryError, match="v0001 is the champion already"):
            roll_back(line, ref)


def test_rollback_refuses_a_target_that_cannot_be_loaded(store: MemoryStore, line: Registry) -> None:
    publish(line, "one")
    publish(line, "two")
    key = f"{LINE}/objects/sha256/{line.manifest('v0001').files['adapter_model.safetensors'].digest}"
    good = store.get(key).data
    for damage in (good[:-1], good[:-1] + b"?"):
        store.put(key, damage)
        with pytest.raises(IntegrityError, match="is damaged; restore it from a backup, or choose another version"):
            roll_back(line)
    store.delete(key)
    with pytest.raises(IntegrityError, match="is missing"):
        roll_back(line)
    assert line.state().champion == "v0002"
    assert roll_back(line, BASE) == ("v0002", None)


def test_full_verification_reads_every_byte_of_the_target(store: MemoryStore, line: Registry) -> None:
    publish(line, "one")
    publish(line, "two")
    key = object_key(LINE, line.manifest("v0001").files["adapter_model.safetensors"].digest)
    before = store._objects[key]
    flipped = before[0].replace(b"lora_A", b"lora_X")
    store._objects[key] = (flipped, before[1])
    with pytest.raises(IntegrityError, match="is damaged"):
        line.rollback(reason="worse", actor="ada", verify="full")
    store._objects[key] = before
    assert line.rollback(reason="worse", actor="ada", verify="full").to == "v0001"


def test_rollback_refuses_a_target_of_another_base_model(line: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(line, "one")
    publish(line, "two")
    honest = line.manifest("v0001")
    monkeypatch.setattr(line._content, "manifest", lambda _: replace(honest, base_fingerprint="c" * 64))
    with pytest.raises(IntegrityError, match="v0001 was made for another base model"):
        roll_back(line)


def test_lost_race_does_not_roll_back_twice(
    store: MemoryStore, line: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        publish(line, name)
    other = open_line(store)
    original = line._rollback_target

    def late(*args: object, **kwargs: object) -> str | None:
        if other.state().champion == "v0003":
            roll_back(other)
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(line, "_rollback_target", late)
    with pytest.raises(RegistryError, match="v0003 is no longer champion, v0002 is: another writer was first"):
        roll_back(line)
    assert line.state().champion == "v0002"


def test_lines_in_one_bucket_are_independent(store: MemoryStore, line: Registry) -> None:
    publish(line, "one")
    other = Registry(store, "algebra", clock=Clock(), signer=SIGNER, verifier=VERIFIER)
    assert other.state().sequence == 0
    publish(other, "one", champion=False)
    assert line.state().champion == "v0001"
    assert other.state().champion is None


def test_unsigned_line_works_with_an_unsigned_verifier(store: MemoryStore, line: Registry) -> None:
    unsigned = Registry(store, LINE, clock=Clock(), signer=None, verifier=Unsigned())
    publish(unsigned, "one")
    assert unsigned.state().champion == "v0001"
    with pytest.raises(IntegrityError, match="is not signed"):
        line.state()


def test_publisher_without_a_key_publishes_nothing(store: MemoryStore) -> None:
    keyless = Registry(store, LINE, clock=Clock(), signer=None, verifier=VERIFIER)
    with pytest.raises(IntegrityError, match="is not signed"):
        publish(keyless, "one")
    assert keyless.state().sequence == 0


def test_store_that_ignores_conditions_is_refused() -> None:
    class Careless(MemoryStore):
        def create(self, key: str, data: bytes) -> str:
            return self.put(key, data)

    line = open_line(Careless())
    with pytest.raises(StoreError, match="two publishers could overwrite each other"):
        publish(line, "one")
    assert line.state().sequence == 0


def test_snapshots_shorten_reading_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 4)
    reads: list[str] = []

    class Counting(MemoryStore):
        def get(self, key: str) -> Blob:
            reads.append(key)
            return super().get(key)

    store = Counting()
    line = open_line(store)
    for number in range(11):
        line.record(EventKind.REJECTED, cycle_key=f"c{number}", reason="r", actor="night", detail={"n": number})
        assert open_line(store).state() == line.state()
    reads.clear()
    assert open_line(store).state().sequence == 11
    assert len([key for key in reads if "/events/" in key]) == 4
    reads.clear()
    line.state()
    assert reads == [f"{LINE}/HEAD"]


def test_reader_with_a_cached_state_reads_only_new_events(
    store: MemoryStore, line: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 3)
    reader = open_line(store)
    for number in range(8):
        line.record(EventKind.REJECTED, cycle_key=f"c{number}", reason="r", actor="night", detail={})
        if number % 2:
            assert reader.state() == line.state()


def test_registry_imports_no_heavy_package() -> None:
    heavy = ("torch", "great_expectations", "prefect", "boto3", "cryptography", "transformers")
    code = f"import sys, everlearn.registry.versions, everlearn.cycle.record; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_survives_a_real_server_byte_by_byte(s3_store: S3Store, tmp_path: Path) -> None:
    line = open_line(s3_store)
    publish(line, "one")
    publish(line, "two")
    there = open_line(s3_store).pull("champion", to=tmp_path / "adapter")
    assert (there / "adapter_model.safetensors").read_bytes() == adapter("two")
    roll_back(line)
    open_line(s3_store).pull("champion", to=tmp_path / "adapter")
    assert (there / "adapter_model.safetensors").read_bytes() == adapter("one")


@pytest.mark.parametrize("reason", ["", " ", "\n\t "])
def test_blank_reason_is_refused(store: MemoryStore, line: Registry, reason: str) -> None:
    publish(line, "one")
    publish(line, "two", champion=False)
    before = store.get(f"{LINE}/HEAD").data
    with pytest.raises(BadInputError, match="rolled_back without a reason: give a short one"):
        line.rollback(None, reason=reason, actor="ada")
    with pytest.raises(BadInputError, match="promoted without a reason: give a short one"):
        line.promote("v0002", reason=reason, actor="ada")
    assert store.get(f"{LINE}/HEAD").data == before
