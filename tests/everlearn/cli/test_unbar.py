"""A barred version can serve again, after a signed event with a reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import typer

from everlearn.errors import RegistryError
from everlearn.registry.events import EventKind
from everlearn.reporting.site.pages import Site
from tests.support.line import candidate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

WHY = ("--reason", "the source was wrong")


def test_a_rolled_back_version_serves_again(
    everlearn: Callable[..., Ended], publish: Callable[..., str], registry: Registry, tmp_path: Path
) -> None:
    publish()
    everlearn("rollback", "--reason", "trying it out")
    refused = everlearn("promote", "v0001", *WHY)
    assert "`everlearn unbar v0001` lifts that" in refused.err
    lines = everlearn("unbar", "v0001", *WHY).out.splitlines()
    assert lines[0] == "unbarred v0001: the source was wrong"
    assert lines[1] == '  to let it serve: everlearn promote v0001 --reason "…"'
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["barred"], facts["flagged"]) == (None, [], [])
    assert everlearn("promote", "v0001", *WHY).code == 0
    assert everlearn("status", "--json").facts["champion"] == "v0001"
    event = registry.state().history[2]
    assert (event.kind, event.detail) == (EventKind.UNBARRED, {"version": "v0001"})
    assert "unbarred v0001: the source was wrong" in everlearn("history").out
    pages = Site(registry).build(tmp_path / "pages")
    assert any("the source was wrong" in (tmp_path / "pages" / page).read_text("utf-8") for page in pages)


def test_unbarring_a_sound_version_changes_nothing(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    ended = everlearn("unbar", "v0001", *WHY, "--json")
    assert (ended.code, ended.facts["changed"], ended.facts["version"]) == (0, False, "v0001")
    assert everlearn("status", "--json").facts["events"] == 1


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("v0009", *WHY), RegistryError.exit_code, "no version 'v0009'"),
        (("v0001", "--reason", " "), 2, "the reason is empty"),
        (("v0001",), 2, "--reason"),
    ],
)
def test_unbar_refuses_without_a_version_or_a_reason(
    words: tuple[str, ...], code: int, why: str, everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    publish()
    ended = everlearn("unbar", *words)
    assert (ended.code, why in " ".join(ended.err.split())) == (code, True)


def test_a_refused_version_waits_again(everlearn: Callable[..., Ended], registry: Registry) -> None:
    registry.publish(candidate(registry, "one"), make_champion=False, actor="night", reason="better")
    everlearn("approve", "--refuse", "--reason", "too long")
    assert "everlearn approve v0001" in everlearn("unbar", "v0001", *WHY).out
    assert registry.state().waiting == ("v0001",)


def test_unbar_asks_for_confirmation_at_a_terminal(
    everlearn: Callable[..., Ended], publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    everlearn("rollback", "--reason", "x")
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda question, **_: asked.append(question))
    assert everlearn("unbar", "v0001", *WHY).code == 0
    assert asked == ["Unbar v0001, so that it can be champion and parent again?"]
