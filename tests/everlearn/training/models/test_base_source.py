"""Where the base model comes from, and which commit a line keeps."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.errors import ModelError
from everlearn.settings import Settings
from everlearn.storage.in_memory import MemoryStore
from everlearn.training.models.base_source import base_directory, pin_base
from tests.support.fake_hub import FakeHub
from tests.support.line import candidate, open_line
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.registry.versions import Registry

MODEL = "lab/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("uploaded"))


def named(**base: str) -> Settings:
    return Settings.model_validate({"base": {"model": MODEL, **base}})


def line(*bases: dict[str, Any]) -> Registry:
    """Return a line with a version for each of these settings of the base model."""
    registry = open_line(MemoryStore())
    for number, base in enumerate(bases):
        made = replace(candidate(registry, str(number), parent=registry.state().champion), config={"base": base})
        registry.publish(made, make_champion=True, actor="night", reason="better")
    return registry


def test_a_folder_needs_no_hub(tmp_path: Path, hub: FakeHub) -> None:
    settings = Settings.model_validate({"base": {"path": "base"}}, context={"root": tmp_path})
    assert base_directory(settings) == tmp_path / "base"
    assert pin_base(settings, line()) is settings
    assert not hub.requests


def test_the_first_night_pins_the_commit_and_logs_it(
    hub: FakeHub, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.add(MODEL, folder)
    with caplog.at_level(logging.INFO, logger="everlearn.night"):
        pinned = pin_base(named(), line())
    assert (pinned.base.model, pinned.base.revision, pinned.base.commit) == (MODEL, "main", commit)
    assert f"base model {MODEL}: main is commit {commit}" in caplog.text
    assert base_directory(pinned).name == commit
    assert base_directory(named()).name == commit, "a command without a line looks the revision up"


def test_later_nights_keep_the_commit_after_the_branch_moved(hub: FakeHub, folder: Path) -> None:
    first = hub.add(MODEL, folder)
    base = named(commit=first).model_dump(mode="json")["base"]
    hub.add(MODEL, folder)
    assert pin_base(named(), line({}, base)).base.commit == first


def test_a_commit_in_the_settings_is_used(hub: FakeHub) -> None:
    settings = named(commit="a" * 40)
    assert pin_base(settings, line()) is settings
    assert not hub.requests


@pytest.mark.parametrize(
    "before",
    [
        {"model": MODEL, "revision": "v1", "commit": "a" * 40},
        {"model": "lab/other", "revision": "main", "commit": "a" * 40},
        {"path": "data/base"},
    ],
    ids=str,
)
def test_another_model_or_revision_is_looked_up(before: dict[str, Any], hub: FakeHub, folder: Path) -> None:
    commit = hub.add(MODEL, folder)
    assert pin_base(named(), line(before)).base.commit == commit
    assert pin_base(named(), None).base.commit == commit


def test_a_model_that_does_not_exist_is_refused(hub: FakeHub) -> None:
    with pytest.raises(ModelError, match=f"{hub.url} has no model 'lab/tiny'"):
        pin_base(named(), line())


def test_only_a_named_model_imports_the_client_of_the_hub(tmp_path: Path) -> None:
    code = (
        "import sys, everlearn.training.models.base_source as s; from everlearn.settings import Settings;"
        "s.base_directory(s.pin_base(Settings(), None));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
