"""`everlearn gc`: the list, the confirmation, the removal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import typer

from everlearn.cli import collect
from everlearn.errors import BadInputError
from everlearn.local.process import wait_until
from everlearn.registry.maintenance.gc_plan import plan_collection
from everlearn.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

SHORT = "retention: {versions: 0, minimum_age_hours: 0.00003, lease_seconds: 0.05}\n"


@pytest.fixture
def forgotten(params: Path, registry: Registry, publish: Callable[..., str]) -> str:
    """The key of an unpublished upload that is old enough to be removed; minimum ages are short."""
    params.write_text(params.read_text(encoding="utf-8") + SHORT, encoding="utf-8")
    publish()
    key = f"{registry.line}/objects/sha256/{registry.put_object(b'forgotten').digest}"
    registry._heartbeat.end()
    retention = load(params).retention
    assert wait_until(lambda: not plan_collection(registry, retention).is_empty, timeout_s=20)
    return key


def is_there(registry: Registry, key: str) -> bool:
    return key in {info.key for info in registry.store.list(f"{registry.line}/objects/")}


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *, says: bool) -> None:
    def confirm(question: str, **_: object) -> None:
        assert question == "Remove all that?"
        if not says:
            raise typer.Abort

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", confirm)


def test_gc_without_garbage_does_not_ask(everlearn: Callable[..., Ended], publish: Callable[..., str]) -> None:
    publish()
    ended = everlearn("gc")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "nothing to remove: everything is needed, or too young\n"


def test_gc_dry_run_lists_and_removes_nothing(
    everlearn: Callable[..., Ended], registry: Registry, forgotten: str
) -> None:
    ended = everlearn("gc", "--dry-run")
    assert ended.code == 0
    assert f"remove {forgotten} (9 bytes): neither a version nor an event names it" in ended.out
    assert "1 objects, 0.0 MB, could go" in ended.out
    facts = everlearn("gc", "--dry-run", "--json").facts
    assert ([item["key"] for item in facts["items"]], facts["size"], facts["done"]) == ([forgotten], 9, None)
    assert is_there(registry, forgotten)


def test_gc_without_a_terminal_requires_yes(
    everlearn: Callable[..., Ended], registry: Registry, forgotten: str
) -> None:
    ended = everlearn("gc")
    assert ended.code == BadInputError.exit_code
    assert ended.err.index(f"remove {forgotten}") < ended.err.index("add --yes, or --dry-run to list only")
    assert is_there(registry, forgotten)
    done = everlearn("gc", "--yes", "--json").facts["done"]
    assert (done["removed"], done["size"], done["retired"]) == ([forgotten], 9, [])
    assert not is_there(registry, forgotten)


def test_gc_asks_for_confirmation_at_a_terminal(
    everlearn: Callable[..., Ended], registry: Registry, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, says=False)
    assert everlearn("gc").code == 1
    assert is_there(registry, forgotten)
    at_a_terminal(monkeypatch, says=True)
    ended = everlearn("gc")
    assert f"remove {forgotten}" in ended.err
    assert ended.out == "1 objects removed, 0.0 MB; 0 versions retired\n"
    assert not is_there(registry, forgotten)


def test_gc_shortens_a_long_list_and_names_the_publisher(
    everlearn: Callable[..., Ended],
    registry: Registry,
    forgotten: str,
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collect, "MAX_LISTED", 1)
    key = f"{registry.line}/objects/sha256/{registry.put_object(b'another').digest}"  # and its lease, of 15 minutes
    assert wait_until(lambda: key in everlearn("gc", "--dry-run", "--json").out, timeout_s=20)
    ended = everlearn("gc", "--dry-run")
    assert "and 1 more; --json lists them all" in ended.out
    assert "not now: a night is publishing (" in ended.out
    assert forgotten in everlearn("gc", "--dry-run", "--json").out
