"""`fsck` reports every fault with its key and reason, and nothing that is no fault."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from everlearn.canonical_json import canonical, digest_of, parse
from everlearn.data.used_problems import Use, UsedProblems, save_record
from everlearn.errors import IntegrityError, StoreDownError
from everlearn.gate.lifetime_error import past_of
from everlearn.registry import event_log
from everlearn.registry.acknowledgements import Acknowledgement
from everlearn.registry.content_store import ContentStore
from everlearn.registry.event_log import EventLog
from everlearn.registry.events import Draft, Event, EventKind
from everlearn.registry.maintenance.fsck import Findings, fsck
from everlearn.registry.sealed_document import seal
from everlearn.registry.signing import Ed25519Signer, Ed25519Verifier, Unsigned
from everlearn.settings import GateSettings
from everlearn.storage.immutable_objects import object_key
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.protocol import Blob
from tests.support.line import LINE, SIGNER, VERIFIER, WHEN, Clock, candidate, open_line, publish
from tests.support.versioned_store import VersionedStore, erase, flip_bit, list_keys

if TYPE_CHECKING:
    from everlearn.registry.line_state import State
    from everlearn.storage.s3 import S3Store

HEAD = f"{LINE}/HEAD"


@pytest.fixture(autouse=True)
def _snapshots_at_every_other_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 2)


@pytest.fixture
def store() -> MemoryStore:
    """Return a line of three versions and five events."""
    return fill(MemoryStore())


def fill(store: MemoryStore) -> MemoryStore:
    line = open_line(store)
    for name in ("one", "two", "three"):
        publish(line, name)
    line.rollback(reason="worse", actor="ada")
    line.record(EventKind.REJECTED, cycle_key="k", reason="worse", actor="night", detail={})
    return store


def walk(store: MemoryStore) -> Findings:
    return fsck(store, LINE, verifier=VERIFIER)


def chained(store: MemoryStore) -> EventLog:
    return EventLog(store, LINE, clock=Clock(), signer=SIGNER, verifier=VERIFIER)


def draft(reason: str = "r", kind: EventKind = EventKind.SUITE_CHANGED, **detail: Any) -> Draft:
    return Draft(kind=kind, actor="ada", reason=reason, detail=detail)


def named(findings: Findings) -> set[str]:
    return {fault.key for fault in (*findings.head, *findings.damaged, *findings.missing)}


def lose_a_race(store: MemoryStore, *, reason: str = "lost") -> Event:
    """Write an event after the newest one that HEAD never named."""
    state = chained(store).state()
    return chained(store)._write(draft(reason), state=state, at=WHEN)[0]


def acknowledge(store: MemoryStore, event: Event) -> None:
    note = Acknowledgement(
        consumer="web", version=None, manifest=None, sequence=event.sequence, event=event.digest, at=WHEN
    )
    store.put(f"{LINE}/consumers/web.json", note.to_bytes())


def test_sound_line_is_clean(store: MemoryStore) -> None:
    findings = walk(store)
    assert findings.is_clean
    assert (findings.unreferenced, findings.orphan_tips) == ((), ())
    assert [event.sequence for event in findings.trail] == [5, 4, 3, 2, 1]
    assert findings.checked == len(list_keys(store)) - 1
    assert findings.size == sum(info.size for info in store.list()) - store.head(HEAD).size


def test_empty_line_is_clean() -> None:
    assert walk(MemoryStore()).is_clean


def test_fsck_reports_any_flipped_byte(store: MemoryStore) -> None:
    for key in list_keys(store):
        size = store.head(key).size
        for position in range(0, size, max(1, size // 10)):
            flip_bit(store, key, at=position)
            assert named(walk(store)) >= {key}
            flip_bit(store, key, at=position)
    assert walk(store).is_clean


def test_fsck_reports_missing_keys_and_what_needs_them(store: MemoryStore) -> None:
    for key in list_keys(store):
        held = store._objects[key]
        erase(store, key)
        findings = walk(store)
        if key == HEAD:
            assert "HEAD is missing; event 4" in findings.head[0].why
        else:
            assert [fault.key for fault in findings.missing] == [key]
            assert any(word in findings.missing[0].why for word in ("needs it", "names it", "follows it"))
        store._objects[key] = held


def test_lost_event_hides_no_other_fault(store: MemoryStore) -> None:
    line = open_line(store)
    one = object_key(LINE, line.manifest("v0001").files["adapter_model.safetensors"].digest)
    third = line.state().history[2].digest
    erase(store, f"{LINE}/events/{third}.json")
    flip_bit(store, one, at=3)
    findings = walk(store)
    assert [fault.key for fault in findings.missing] == [f"{LINE}/events/{third}.json"]
    assert findings.missing[0].why == "event 4 follows it"
    assert [fault.key for fault in findings.damaged] == [one]
    assert "its bytes have another digest" in findings.damaged[0].why


def test_broken_chain_reports_nothing_as_unreferenced(store: MemoryStore) -> None:
    events = open_line(store).state().history
    for key in (f"{LINE}/events/{events[2].digest}.json", object_key(LINE, str(events[3].snapshot))):
        erase(store, key)
    findings = walk(store)
    assert [event.sequence for event in findings.trail] == [5, 4]
    assert len(findings.missing) == 2
    assert (findings.head, findings.unreferenced) == ((), ())


def test_fsck_reports_both_swapped_adapters(store: MemoryStore) -> None:
    line = open_line(store)
    name = "adapter_model.safetensors"
    one, two = (object_key(LINE, line.manifest(each).files[name].digest) for each in ("v0001", "v0002"))
    store._objects[one], store._objects[two] = store._objects[two], store._objects[one]
    assert named(walk(store)) == {one, two}


def test_untrusted_key_makes_everything_damaged(store: MemoryStore) -> None:
    untrusted = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    findings = fsck(store, LINE, verifier=Ed25519Verifier([untrusted.key]))
    assert not findings.is_clean
    assert "names an event that is missing or damaged" in findings.head[0].why


def test_untrusted_document_counts_only_if_needed(store: MemoryStore) -> None:
    untrusted = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    forger = EventLog(store, LINE, clock=Clock(), signer=untrusted, verifier=Unsigned())
    state = chained(store).state()
    forged, after = forger._write(draft("forged"), state=state, at=WHEN)
    assert walk(store).is_clean
    assert f"{LINE}/events/{forged.digest}.json" in walk(store).unreferenced
    store.put(HEAD, canonical(forger.head(after)))
    findings = walk(store)
    assert named(findings) == {HEAD, f"{LINE}/events/{forged.digest}.json"}
    assert "signed with a key that is not trusted here" in findings.damaged[0].why


def test_unreferenced_objects_are_listed_without_fault(store: MemoryStore) -> None:
    line = open_line(store)
    report = line.put_object(b"of a night that crashed")
    store.put(f"{LINE}/objects/README", b"not of the registry")
    findings = walk(store)
    assert findings.is_clean
    assert findings.unreferenced == (f"{LINE}/objects/README", object_key(LINE, report.digest))


def test_damaged_unreferenced_object_is_a_fault(store: MemoryStore) -> None:
    key = object_key(LINE, open_line(store).put_object(b"of a night that crashed").digest)
    flip_bit(store, key, at=0)
    assert named(walk(store)) == {key}


def test_event_that_no_head_named_is_an_orphan_tip(store: MemoryStore) -> None:
    lost = lose_a_race(store)
    findings = walk(store)
    assert findings.is_clean
    assert findings.orphan_tips == (lost,)
    assert f"{LINE}/events/{lost.digest}.json" not in findings.unreferenced


def test_first_event_can_be_an_orphan_tip() -> None:
    store = MemoryStore()
    lost = lose_a_race(store)
    findings = walk(store)
    assert findings.is_clean
    assert findings.orphan_tips == (lost,)


def test_older_head_is_detected_by_a_later_event(store: MemoryStore) -> None:
    old = store.get(HEAD).data
    chained(store).append(lambda _: draft("six"))
    chained(store).append(lambda _: draft("seven"))
    store._objects[HEAD] = (old, WHEN)
    findings = walk(store)
    assert "HEAD is at event 5: an older or another HEAD was put there; event 6" in findings.head[0].why
    assert "was appended to it" in findings.head[0].why
    assert [tip.sequence for tip in findings.orphan_tips] == [7]


def test_older_head_is_detected_by_an_acknowledgement(store: MemoryStore) -> None:
    old = store.get(HEAD).data
    acknowledge(store, chained(store).append(lambda _: draft("six")))
    assert walk(store).is_clean
    store._objects[HEAD] = (old, WHEN)
    assert "event 6" in walk(store).head[0].why
    assert walk(store).head[0].why.endswith("web has acknowledged it")


def test_older_head_is_detected_by_bucket_versions() -> None:
    store = VersionedStore()
    fill(store)
    old = store.get(HEAD).data
    chained(store).append(lambda _: draft("six"))
    assert walk(store).is_clean
    store.put(HEAD, b"garbage")
    store.put(HEAD, canonical({"event": 7}))
    store.put(HEAD, old)
    assert walk(store).head[0].why.endswith("the bucket holds an older HEAD that names it")


def test_older_head_is_detected_without_the_hidden_event(store: MemoryStore) -> None:
    old = store.get(HEAD).data
    event = chained(store).append(lambda _: draft("six"))
    acknowledge(store, event)
    store._objects[HEAD] = (old, WHEN)
    erase(store, f"{LINE}/events/{event.digest}.json")
    findings = walk(store)
    assert findings.missing[0].why == "web has acknowledged it"
    assert "event 6" in findings.head[0].why


def test_history_on_top_of_an_older_head_is_detected(store: MemoryStore) -> None:
    old = store.get(HEAD).data
    acknowledge(store, chained(store).append(lambda _: draft("six")))
    store._objects[HEAD] = (old, WHEN)
    chained(store).append(lambda _: draft("another six"))
    chained(store).append(lambda _: draft("seven"))
    assert "HEAD is at event 7: an older or another HEAD was put there; event 6" in walk(store).head[0].why


def test_older_head_without_evidence_is_undetectable(store: MemoryStore) -> None:
    old = store.get(HEAD).data
    event = chained(store).append(lambda _: draft("six"))
    store._objects[HEAD] = (old, WHEN)
    findings = walk(store)
    assert findings.is_clean
    assert findings.orphan_tips == (event,)


def test_unreadable_acknowledgement_is_no_evidence(store: MemoryStore) -> None:
    store.put(f"{LINE}/consumers/web.json", b"{}")
    assert walk(store).is_clean


@pytest.mark.parametrize("change", [{"champion": "v0001"}, {"sequence": 2}, {"snapshot": None}, {"line": "x"}])
def test_fsck_reports_a_head_that_contradicts_its_history(store: MemoryStore, change: dict[str, object]) -> None:
    store.put(HEAD, canonical(parse(store.get(HEAD).data, name="HEAD") | change))
    assert [fault.why for fault in walk(store).head] == [f"{HEAD} contradicts its own history"]


def test_retired_version_needs_its_manifest_and_no_objects(store: MemoryStore) -> None:
    line = open_line(store)
    version = publish(line, "four", champion=False)
    manifest = line.resolve(version).manifest
    there = [object_key(LINE, ref.digest) for ref in line.manifest(version).references()]
    chained(store).append(lambda _: draft(kind=EventKind.RETIRED, versions=[version]))
    findings = walk(store)
    assert findings.is_clean
    assert set(findings.unreferenced) < set(there)  # the configuration is shared with versions that stay
    for key in findings.unreferenced:
        store.delete(key)
    assert walk(store).is_clean
    store.delete(f"{LINE}/manifests/{manifest}.json")
    with pytest.raises(
        IntegrityError, match=f"{manifest}.json is missing"
    ):  # the levels of the next night depend on it
        past_of(line.state().history, settings=GateSettings(improvement_error="line"), registry=open_line(store))
    assert [(fault.key, fault.why) for fault in walk(store).missing] == [
        (f"{LINE}/manifests/{manifest}.json", f"{version} needs it")
    ]


def test_manifest_that_differs_from_its_event_is_damaged(store: MemoryStore) -> None:
    line = open_line(store)
    manifest = candidate(line, "four", parent="v0002")
    data = seal(manifest.to_content(), purpose="manifest", line=LINE, signer=SIGNER)
    key = f"{LINE}/manifests/{digest_of(data)}.json"
    store.create(key, data)
    detail: dict[str, Any] = {"version": "v0004", "manifest": digest_of(data), "champion": False, "parent": "v0001"}
    detail |= {"data_digest": "d" * 64, "base_fingerprint": manifest.base_fingerprint}
    published = Draft(kind=EventKind.PUBLISHED, actor="ada", reason="r", cycle_key=manifest.cycle_key, detail=detail)
    chained(store).append(lambda _: published)
    findings = walk(store)
    assert named(findings) == {key}
    assert findings.damaged[0].why.endswith("and the event that published v0004 differ in parent, data_digest")


def test_manifest_with_a_wrong_size_is_detected(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    line = open_line(store)
    manifest = candidate(line, "four", parent="v0002")
    files = {name: replace(ref, size=1) for name, ref in manifest.files.items()}
    monkeypatch.setattr(ContentStore, "check_objects", lambda *_, **__: None)
    line.publish(replace(manifest, files=files), make_champion=False, actor="night", reason="r")
    assert {fault.why.partition("differs in")[2] for fault in walk(store).damaged} == {
        " size from the manifest of v0004"
    }


def test_snapshot_with_a_differing_event_is_damaged(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def lie(self: EventLog, state: State, held: int) -> str:
        events = [replace(event, reason=f"nicer {held}") for event in state.history]
        content = [{"content": event.to_content(), "digest": event.digest} for event in events]
        data = seal({"events": content, "before": []}, purpose="snapshot", line=LINE, signer=SIGNER)
        self._store.create(object_key(LINE, digest_of(data)), data)
        written.append(object_key(LINE, digest_of(data)))
        return digest_of(data)

    monkeypatch.setattr(EventLog, "_write_snapshot", lie)
    chained(store).append(lambda _: draft())
    assert [fault.key for fault in walk(store).damaged] == written


def test_snapshot_with_missing_events_is_detected(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: EventLog, state: State, held: int) -> str:
        content = [{"content": event.to_content(), "digest": event.digest} for event in state.history[held:]]
        data = seal({"events": content, "before": []}, purpose="snapshot", line=LINE, signer=SIGNER)
        self._store.create(object_key(LINE, digest_of(data)), data)
        return digest_of(data)

    monkeypatch.setattr(EventLog, "_write_snapshot", forget)
    event = chained(store).append(lambda _: draft())
    assert "breaks the history" in walk(store).damaged[0].why
    assert walk(store).damaged[0].key == f"{LINE}/events/{event.digest}.json"


def test_signed_history_that_breaks_a_rule_is_damaged(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    state = chained(store).state()
    with monkeypatch.context() as patch:
        patch.setattr(
            event_log, "fold", lambda events, start: replace(start, tip=events[0].digest, sequence=events[0].sequence)
        )
        event, after = chained(store)._write(draft(kind=EventKind.PROMOTED, version="v0009"), state=state, at=WHEN)
    store.put(HEAD, canonical(chained(store).head(after)))
    findings = walk(store)
    assert [fault.key for fault in findings.damaged] == [f"{LINE}/events/{event.digest}.json"]
    assert "v0009 does not exist" in findings.damaged[0].why


def test_check_is_repeated_if_head_moves(store: MemoryStore) -> None:
    class Moving(MemoryStore):
        """Publish and collect as another process while the events are listed."""

        walks = 0

        def list(self, prefix: str = "") -> Any:
            if prefix.endswith("/events/"):
                Moving.walks += 1
                if Moving.walks == 1:
                    chained(store).append(lambda _: draft("six"))
                    chained(store).append(lambda _: draft("seven"))
            return store.list(prefix)

        def get(self, key: str) -> Blob:
            return store.get(key)

        def read(self, key: str, *, start: int = 0) -> Any:
            return store.read(key, start=start)

    findings = walk(Moving())
    assert findings.is_clean
    assert (Moving.walks, findings.trail[0].sequence) == (2, 7)


def test_check_is_repeated_a_limited_number_of_times(store: MemoryStore) -> None:
    class Restless(VersionedStore):
        """Miss an object, and move HEAD with every read of it."""

        looks = 0

        def get(self, key: str) -> Blob:
            if key == HEAD:
                Restless.looks += 1
                return Blob(data=b"x" * Restless.looks, etag="")
            return super().get(key)

    other = Restless()
    other._objects = dict(store._objects)
    assert not walk(other).is_clean
    assert Restless.looks == 6


def test_immutable_objects_collected_during_the_check_are_no_fault(store: MemoryStore) -> None:
    key = object_key(LINE, open_line(store).put_object(b"of a night that crashed").digest)

    class Collecting(VersionedStore):
        def read(self, key: str, *, start: int = 0) -> Any:
            self._objects.pop(leftover, None)
            return super().read(key, start=start)

    leftover = key
    other = Collecting()
    other._objects = dict(store._objects)
    assert walk(other).is_clean


def test_check_reports_progress_and_stops_with_the_store(store: MemoryStore) -> None:
    reports: list[tuple[int, int]] = []
    fsck(store, LINE, verifier=VERIFIER, progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (len(list_keys(store)) - 1, len(list_keys(store)) - 1)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)

    class Away(VersionedStore):
        def get(self, key: str) -> Blob:
            if "/events/" in key:
                raise StoreDownError("no answer")
            return super().get(key)

    other = Away()
    other._objects = dict(store._objects)
    with pytest.raises(StoreDownError):
        walk(other)


def test_fsck_reads_every_byte_on_a_real_server(s3_store: S3Store) -> None:
    line = open_line(s3_store)
    publish(line, "one")
    publish(line, "two")
    assert fsck(s3_store, LINE, verifier=VERIFIER).is_clean
    key = object_key(LINE, line.manifest("v0001").files["adapter_model.safetensors"].digest)
    s3_store.put(key, b"x" + s3_store.get(key).data[1:])
    assert named(fsck(s3_store, LINE, verifier=VERIFIER)) == {key}


def record_nights(store: MemoryStore) -> list[str]:
    """Record what two nights measured. Return the keys of the records, the older first."""
    keys: list[str] = []
    for night in ("one", "two"):
        before = [key.rpartition("/")[2] for key in keys]
        record = UsedProblems(nights=(night,), scheme="s", problems={night: "key"}, before=tuple(before))
        keys.append(f"{LINE}/problems/measured/{save_record(store, LINE, Use.MEASURED, record)}")
    return keys


def test_records_of_used_problems_are_needed(store: MemoryStore) -> None:
    record_nights(store)
    findings = walk(store)
    assert findings.is_clean
    assert not [key for key in findings.unreferenced if "/problems/" in key]


def test_a_damaged_or_lost_record_of_used_problems_is_reported(store: MemoryStore) -> None:
    older, newer = record_nights(store)
    store.delete(older)
    flip_bit(store, newer, at=-4)
    findings = walk(store)
    assert [fault.key for fault in findings.damaged] == [newer]
    store.put(newer, bytes(64))
    assert [fault.key for fault in walk(store).damaged] == [newer]
    older, newer = record_nights(fresh := fill(MemoryStore()))
    fresh.delete(older)
    assert [(fault.key, fault.why) for fault in walk(fresh).missing] == [
        (older, "the record of a later night follows it")
    ]


@pytest.mark.parametrize("ends", ["published", "without a version"])
def test_the_loss_of_the_newest_records_is_reported(store: MemoryStore, ends: str) -> None:
    measured = record_nights(store)[-1]
    trained = UsedProblems(nights=("two",), scheme="s", problems={"x": "key"})
    newest = {measured, f"{LINE}/problems/trained/{save_record(store, LINE, Use.TRAINED, trained)}"}
    records = [key.removeprefix(f"{LINE}/problems/") for key in sorted(newest)]
    line = open_line(store)
    if ends == "published":
        new = candidate(line, "four")
        line.publish(new, make_champion=False, actor="night", reason="better", records=records)
    else:
        line.record(EventKind.REJECTED, cycle_key="two", reason="worse", actor="night", detail={"records": records})
    assert walk(store).is_clean
    for key in newest:
        store.delete(key)
    missing = walk(store).missing
    assert {fault.key for fault in missing} == newest
    assert {fault.why.partition(" names ")[2] for fault in missing} == {"it as a record of what its night used"}
