from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from everlearn.cli import repair
from everlearn.errors import BadInputError, IntegrityError
from everlearn.registry.events import Draft, EventKind
from everlearn.storage.protocol import Blob
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from everlearn.registry.event_log import EventLog
    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


def lose_head(registry: Registry) -> None:
    registry.store.delete(f"{registry.line}/HEAD")


def spoil(registry: Registry, version: str) -> str:
    """Overwrite the adapter of a version with other bytes."""
    ref = registry.manifest(version).files["adapter_model.safetensors"]
    key = f"{registry.line}/objects/sha256/{ref.digest}"
    registry.store.put(key, b"x" * ref.size)
    return key


def test_fsck_of_a_sound_line_ends_with_0(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    assert everlearn("fsck").out == "0 events, 0 objects, 0.0 MB: all holds\n"
    publish()
    publish()
    ended = everlearn("fsck")
    assert (ended.code, ended.err) == (0, "")
    assert "2 events, 8 objects" in ended.out
    facts = everlearn("fsck", "--json").facts
    assert (facts["clean"], facts["events"], facts["damaged"], facts["done"]) == (True, 2, [], [])


def test_fsck_names_damage_and_ends_with_5(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    key = spoil(registry, "v0001")
    ended = everlearn("fsck")
    assert ended.code == IntegrityError.exit_code
    assert "its bytes have another digest" in ended.out
    assert "1 fault; `everlearn fsck --repair` puts back what can be proved" in ended.out
    again = everlearn("fsck", "--repair", "--json")
    assert again.code == IntegrityError.exit_code
    assert [fault["key"] for fault in again.facts["damaged"]] == [key]


def test_a_lost_report_is_no_fault_and_is_put_back(
    everlearn: Callable[..., Ended], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = registry.put_object(b"<html>").digest
    registry.record(EventKind.REJECTED, cycle_key="k" * 64, reason="worse", actor="night", detail={"report": report})
    assert everlearn("fsck", "--json").facts["unreferenced"] == []
    key = f"{registry.line}/objects/sha256/{report}"
    registry.store.delete(key)
    ended = everlearn("fsck", "--repair")
    assert ended.code == 0
    assert f"lost document: {key}: event 1 (rejected) names it as its report; no version needs it" in ended.out
    monkeypatch.setattr(S3Store, "versions", lambda *_: iter([Blob(data=b"<html>", etag="")]))
    facts = everlearn("fsck", "--repair", "--json").facts
    assert (facts["lost"], facts["done"]) == ([], [f"put back {key} from an older content of the bucket"])


def test_repair_restores_objects_and_keeps_head(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    good = registry.get_object(registry.manifest("v0001").files["adapter_model.safetensors"])
    key = spoil(registry, "v0001")
    held = {key: [Blob(data=good, etag="")]}
    monkeypatch.setattr(S3Store, "versions", lambda _, key: iter(held.get(key, [])))
    facts = everlearn("fsck", "--repair", "--json").facts
    assert (facts["clean"], facts["done"]) == (True, [f"put back {key} from an older content of the bucket"])


def test_fsck_lists_unreferenced_objects_without_a_fault(
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    monkeypatch.setattr(repair, "MAX_LISTED", 1)
    for data in (b"one", b"two", b"three"):
        registry.put_object(data)
    ended = everlearn("fsck")
    assert ended.code == 0
    assert ended.out.count("unreferenced: ") == 1
    assert "and 2 more that nothing needs" in ended.out
    assert len(everlearn("fsck", "--json").facts["unreferenced"]) == 3


def test_fsck_restores_a_lost_head_and_adopts_an_event(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    publish()
    tip = str(registry.state().tip)
    lose_head(registry)
    assert everlearn("status", "--json").facts["events"] == 0
    assert everlearn("fsck").code == IntegrityError.exit_code
    ended = everlearn("fsck", "--repair")
    assert ended.code == 0
    assert "HEAD name event 1" in ended.err
    assert "was appended to it" in ended.err
    assert f"everlearn fsck --adopt {tip[:12]}" in ended.out
    assert "done: let" in ended.out
    adopted = everlearn("fsck", "--adopt", tip[:12], "--json")
    assert adopted.code == 0
    assert "HEAD name event 2" in adopted.facts["done"][0]
    assert everlearn("status", "--json").facts["champion"] == "v0002"


def test_repair_without_evidence_explains_why(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    registry.store.put(f"{registry.line}/HEAD", b"garbage")
    ended = everlearn("fsck", "--repair")
    assert ended.code == IntegrityError.exit_code
    assert "not repaired: nothing proves where" in ended.err


def test_an_unknown_event_cannot_be_adopted(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("fsck", "--adopt", "0123456789ab")
    assert ended.code == BadInputError.exit_code
    assert "names no event that could be adopted" in ended.err


def test_repair_asks_for_confirmation_at_a_terminal(
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    publish()
    questions: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question))
    for words, expected in (((), ["Do that?"]), (("--yes",), [])):
        lose_head(registry)
        questions.clear()
        assert everlearn("fsck", "--repair", *words).code == 0
        assert questions == expected


def test_repair_changes_nothing_without_confirmation(
    everlearn: Callable[..., Ended],
    publish: Callable[..., str],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise typer.Abort

    publish()
    publish()
    lose_head(registry)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", refuse)
    assert everlearn("fsck", "--repair").code == 1
    assert everlearn("status", "--json").facts["events"] == 0


def test_history_shows_retired_versions(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry
) -> None:
    publish()
    manifest = registry.manifest("v0001")
    again = type(manifest)(**{name: getattr(manifest, name) for name in manifest.__slots__} | {"cycle_key": "c" * 64})
    registry.publish(again, make_champion=False, actor="night", reason="not better")
    chain: EventLog = registry._log
    chain.append(
        lambda _: Draft(
            kind=EventKind.RETIRED, actor="gc", reason="the last 10 are kept", detail={"versions": ["v0002"]}
        )
    )
    assert "retired v0002: the last 10 are kept" in everlearn("history").out
