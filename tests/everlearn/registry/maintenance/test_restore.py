"""HEAD is restored only to a proven event, and every restored object has the right bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, ConflictError, IntegrityError
from everlearn.registry import event_log
from everlearn.registry.maintenance.fsck import Findings, fsck
from everlearn.registry.maintenance.restore import RepairPlan, carry_out, plan_adoption, plan_repair
from everlearn.storage.immutable_objects import object_key
from tests.everlearn.registry.maintenance.test_fsck import (
    HEAD,
    acknowledge,
    chained,
    draft,
    fill,
    lose_a_race,
    record_nights,
)
from tests.support.line import LINE, VERIFIER, open_line
from tests.support.versioned_store import VersionedStore, erase, flip_bit, list_keys

if TYPE_CHECKING:
    from everlearn.registry.events import Event
    from everlearn.storage.in_memory import MemoryStore


@pytest.fixture(autouse=True)
def _snapshots_at_every_other_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SNAPSHOT_EVERY", 2)


@pytest.fixture
def store() -> VersionedStore:
    """Return a line of three versions and five events; no key has an older version in the bucket."""
    store = VersionedStore()
    fill(store)
    store.older.clear()
    return store


def walk(store: MemoryStore) -> Findings:
    return fsck(store, LINE, verifier=VERIFIER)


def repair(store: MemoryStore) -> RepairPlan:
    plan = plan_repair(store, walk(store), verifier=VERIFIER)
    carry_out(store, plan)
    return plan


def adopt(store: MemoryStore, digest: str) -> RepairPlan:
    plan = plan_adoption(store, walk(store), digest, verifier=VERIFIER)
    carry_out(store, plan)
    return plan


def put_back(store: VersionedStore, head: bytes) -> None:
    """Put back an older HEAD without a trace in the bucket's versions."""
    store.put(HEAD, head)
    store.older.clear()


def branch(store: VersionedStore) -> tuple[Event, Event]:
    """Commit two events after the same one, both acknowledged: an older HEAD was put back between them."""
    old = store.get(HEAD).data
    one = chained(store).append(lambda _: draft("six"))
    put_back(store, old)
    other = chained(store).append(lambda _: draft("another six"))
    chained(store).append(lambda _: draft("seven"))
    store.older.clear()
    acknowledge(store, one)
    return one, other


def test_sound_line_needs_no_repair(store: VersionedStore) -> None:
    assert plan_repair(store, walk(store), verifier=VERIFIER).is_empty


def test_lost_head_is_restored_from_bucket_versions(store: VersionedStore) -> None:
    good = store.get(HEAD).data
    store.delete(HEAD)
    plan = repair(store)
    assert (plan.sequence, plan.because) == (5, "the bucket holds an older HEAD that names it")
    assert store.get(HEAD).data == good
    assert walk(store).is_clean


def test_damaged_head_is_restored_from_an_acknowledgement(store: VersionedStore) -> None:
    good = store.get(HEAD).data
    acknowledge(store, open_line(store).state().history[-1])
    put_back(store, good[:-9])
    assert repair(store).because == "web has acknowledged it"
    assert store.get(HEAD).data == good


def test_lost_head_is_restored_from_a_later_event(store: VersionedStore) -> None:
    last = open_line(store).state().history[-1]
    erase(store, HEAD)
    plan = repair(store)
    assert (plan.sequence, plan.event, plan.champion) == (4, last.previous, "v0002")
    findings = walk(store)
    assert findings.is_clean
    assert [tip.digest for tip in findings.orphan_tips] == [last.digest]
    assert adopt(store, last.digest[:12]).because == "adopted by hand"
    assert open_line(store).state().tip == last.digest
    assert walk(store).orphan_tips == ()


def test_older_head_is_moved_forward_to_the_committed_event(store: VersionedStore) -> None:
    reader = open_line(store)
    old = store.get(HEAD).data
    for reason in ("six", "seven"):
        chained(store).append(lambda _, reason=reason: draft(reason))  # type: ignore[misc]
    acknowledge(store, reader.state().history[-1])
    put_back(store, old)
    with pytest.raises(IntegrityError, match="older"):
        reader.state()
    assert repair(store).sequence == 7
    assert reader.state().sequence == 7


def test_lost_race_is_never_restored_automatically(store: VersionedStore) -> None:
    lost = lose_a_race(store)
    assert plan_repair(store, walk(store), verifier=VERIFIER).is_empty
    erase(store, HEAD)
    assert repair(store).event == lost.previous
    assert [tip.digest for tip in walk(store).orphan_tips] == [lost.digest]


def test_without_proof_nothing_is_restored() -> None:
    store = VersionedStore()
    event = chained(store).append(lambda _: draft("first"))
    flip_bit(store, HEAD, at=1)
    with pytest.raises(IntegrityError, match=f"nothing proves where {LINE}/HEAD was; .*{event.digest[:12]}"):
        repair(store)
    assert adopt(store, event.digest).sequence == 1
    assert walk(store).is_clean


def test_damaged_head_is_not_moved_behind_its_event(store: VersionedStore) -> None:
    last = str(open_line(store).state().tip)
    put_back(store, canonical(parse(store.get(HEAD).data, name="HEAD") | {"champion": "v0001"}))
    with pytest.raises(IntegrityError, match=f"run --adopt {last[:12]}"):
        repair(store)
    adopt(store, last)
    assert (walk(store).is_clean, open_line(store).state().champion) == (True, "v0002")


def test_two_histories_need_a_decision(store: VersionedStore) -> None:
    one, other = branch(store)
    with pytest.raises(IntegrityError, match=r"has two histories: event 6 .* was committed .*, and so was event 6"):
        repair(store)
    assert adopt(store, one.digest[:12]).sequence == 6
    assert open_line(store).state().tip == one.digest
    with pytest.raises(IntegrityError, match="two histories"):
        repair(store)
    assert other.digest != one.digest


def test_lost_objects_are_restored_from_bucket_versions(store: VersionedStore) -> None:
    before = {key: store.get(key).data for key in list_keys(store)}
    for key in before:
        store.delete(key)
        assert repair(store).is_empty is False
        assert {each: store.get(each).data for each in list_keys(store)} == before
        if key != HEAD:
            store.put(key, b"garbage")
            assert repair(store).put_back == (key,)
            assert {each: store.get(each).data for each in list_keys(store)} == before


def test_lost_records_of_used_problems_are_restored(store: VersionedStore) -> None:
    older, newer = record_nights(store)
    data = store.get(older).data
    store.delete(older)
    store.put(newer, b"garbage")
    assert set(repair(store).put_back) == {newer}
    assert repair(store).put_back == (older,), "known as lost once the record that follows it is readable"
    assert store.get(older).data == data
    assert walk(store).is_clean


def test_events_are_restored_before_head(store: VersionedStore) -> None:
    fourth = open_line(store).state().history[3].digest
    for key in (HEAD, f"{LINE}/events/{fourth}.json"):
        store.delete(key)
    assert repair(store).put_back == (f"{LINE}/events/{fourth}.json",)
    assert repair(store).sequence == 5
    assert walk(store).is_clean


def test_object_without_old_versions_stays_missing(store: VersionedStore) -> None:
    key = object_key(LINE, next(iter(open_line(store).manifest("v0001").files.values())).digest)
    erase(store, key)
    assert repair(store).is_empty
    assert [fault.key for fault in walk(store).missing] == [key]


def test_concurrent_move_of_head_is_not_overwritten(store: VersionedStore) -> None:
    old = store.get(HEAD).data
    chained(store).append(lambda _: draft("six"))
    chained(store).append(lambda _: draft("seven"))
    put_back(store, old)
    plan = plan_repair(store, walk(store), verifier=VERIFIER)
    chained(store).append(lambda _: draft("six again"))
    with pytest.raises(ConflictError, match="was moved by another process meanwhile"):
        carry_out(store, plan)
    erase(store, HEAD)
    plan = plan_repair(store, walk(store), verifier=VERIFIER)
    store.put(HEAD, old)
    with pytest.raises(ConflictError, match="was moved by another process meanwhile"):
        carry_out(store, plan)


def test_vanished_old_version_is_reported(store: VersionedStore) -> None:
    key = list_keys(store, "/manifests/")[0]
    store.delete(key)
    plan = plan_repair(store, walk(store), verifier=VERIFIER)
    store.older.clear()
    with pytest.raises(IntegrityError, match="the older version with the right bytes is gone"):
        carry_out(store, plan)


@pytest.mark.parametrize("digest", ["", "3", "not a digest at all"])
def test_only_known_events_can_be_adopted(store: VersionedStore, digest: str) -> None:
    with pytest.raises(BadInputError, match="names no event that could be adopted"):
        adopt(store, digest)


def test_sound_head_is_moved_neither_sideways_nor_back(store: VersionedStore) -> None:
    lost = lose_a_race(store)
    sixth = chained(store).append(lambda _: draft("six"))
    with pytest.raises(BadInputError, match="lost its race: another event 6 was committed"):
        adopt(store, lost.digest)
    with pytest.raises(BadInputError, match="already; nothing to adopt"):
        adopt(store, sixth.digest)
    with pytest.raises(BadInputError, match="nothing to adopt"):
        adopt(store, str(sixth.previous))


def test_unreadable_later_events_do_not_block_adoption(store: VersionedStore) -> None:
    history = open_line(store).state().history
    erase(store, HEAD)
    erase(store, object_key(LINE, str(history[3].snapshot)))
    erase(store, f"{LINE}/events/{history[2].digest}.json")
    with pytest.raises(IntegrityError, match="is missing"):
        repair(store)
    assert adopt(store, history[1].digest).sequence == 2


def test_adoption_of_a_committed_prefix_is_refused(store: VersionedStore) -> None:
    history = open_line(store).state().history
    erase(store, HEAD)
    with pytest.raises(BadInputError, match="event 4, which follows it, was committed, too; use --repair"):
        adopt(store, history[1].digest)
