from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.line import publish as put

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended


def test_approve_chooses_the_newest_waiting_version(
    everlearn: Callable[..., Ended], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        put(registry, name, champion=False)
    monkeypatch.setattr("everlearn.cli.approve.is_interactive", lambda **_: True)
    questions: list[str] = []
    monkeypatch.setattr("everlearn.cli.approve.confirm", questions.append)
    refused = everlearn("approve", "--refuse", "--reason", "its answers are too long")
    assert "barred v0002: its answers are too long" in refused.out
    facts = everlearn("approve", "v0001", "--reason", "I have read its report", "--json").facts
    assert (facts["version"], facts["consumers_get"]["version"]) == ("v0001", "v0001")
    assert questions == ["Refuse v0002?", "Approve v0001?"]
    assert everlearn("status", "--json").facts["champion"] == "v0001"


@pytest.mark.parametrize(("flags", "done"), [((), "approved"), (("--refuse",), "barred")])
def test_a_decision_that_was_made_already_changes_nothing(
    everlearn: Callable[..., Ended], registry: Registry, flags: tuple[str, ...], done: str
) -> None:
    put(registry, "first", champion=False)
    first = everlearn("approve", "v0001", *flags, "--reason", "I have read its report")
    assert first.code == 0
    events = everlearn("history", "--json").facts
    again = everlearn("approve", "v0001", *flags, "--reason", "once more")
    assert f"v0001 is {done} already: nothing was changed" in again.out
    assert everlearn("history", "--json").facts == events


def test_approve_without_a_waiting_version_is_refused(everlearn: Callable[..., Ended], registry: Registry) -> None:
    registry.store.put(f"{registry.line}/inbox/a.jsonl", b"{}")  # the bucket holds other lines: this one is known
    ended = everlearn("approve", "--reason", "why not")
    assert ended.code == 4
    assert "waits for approval" in ended.err
    assert everlearn("history", "--json").facts == []


def test_approve_works_without_a_reachable_dashboard(
    everlearn: Callable[..., Ended], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(registry, "first", champion=False)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    ended = everlearn("approve", "--reason", "I have read its report")
    assert ended.code == 0
    assert "a form that may still wait there can be cancelled" in ended.err
