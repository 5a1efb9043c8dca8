"""Changes from the shell appear in the dashboard of a real server, and its absence does no harm."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from everlearn.cli.history import announce
from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.orchestration.artifacts_client import show_markdown
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import LINE, open_line, publish

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry


@pytest.fixture
def line() -> Registry:
    opened = open_line(MemoryStore())
    publish(opened, "one")
    return opened


def latest(url: str, kind: str) -> str:
    """Return the newest markdown of an artifact."""
    with urllib.request.urlopen(f"{url}/artifacts/{artifact_key(kind, line=LINE)}/latest") as response:
        return str(json.load(response)["data"])


def test_a_rollback_from_the_shell_is_shown_in_the_dashboard(
    line: Registry, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    announce(line, line.state().history[-1])
    assert latest(prefect_url, "history").startswith("**v0001** serves")
    announce(line, line.rollback(reason="wrong signs", actor="ada").event)
    shown = latest(prefect_url, "history")
    assert shown.startswith("**The base model** serves line integration: rolled back v0001")
    assert "wrong signs | ada |" in shown
    assert "the base model serves" in latest(prefect_url, "champion")


def test_without_a_server_nothing_is_shown_and_nothing_fails(line: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    announce(line, line.state().history[-1])
    assert not show_markdown("history", line=LINE, markdown="", description="")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    began = time.monotonic()
    announce(line, line.state().history[-1])
    assert time.monotonic() - began < 5
