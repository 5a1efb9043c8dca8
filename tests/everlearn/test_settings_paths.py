"""Relative paths start at the settings file, whatever the working directory and wherever the path comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from everlearn.cli.context import Installation
from everlearn.settings import Settings, load
from everlearn.settings.layers import setting_names

if TYPE_CHECKING:
    from collections.abc import Callable

RESOLVED: dict[str, Callable[[Settings], Path | None]] = {
    "base.path": lambda settings: settings.base_directory,
    "data.suites": lambda settings: settings.suites_directory,
    "data.general": lambda settings: settings.data.general and settings.resolve(settings.data.general),
    "data.inbox": lambda settings: settings.inbox_directory.parent,
    "signing.key_file": lambda settings: settings.key_file,
    "rollouts.adapters": lambda settings: settings.rollout_backend.adapters,
    "rollouts.program": lambda settings: settings.rollout_backend.program,
    "serving.adapters": lambda settings: settings.serving.adapters and settings.resolve(settings.serving.adapters),
}
"""How the code reads each setting that is a path."""


def annotation_of(name: str) -> str:
    section, field = name.split(".")
    return str(getattr(Settings(), section).__class__.model_fields[field].annotation)


def test_every_path_in_the_settings_is_listed() -> None:
    assert {name for name in setting_names() if "." in name and "Path" in annotation_of(name)} == set(RESOLVED)


@pytest.mark.parametrize("layer", ["file", "environment", "profile"])
@pytest.mark.parametrize("name", RESOLVED)
def test_paths_start_at_the_settings_file(
    name: str, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tmp_path / "project" / "mine.yaml"
    params.parent.mkdir()
    section, field = name.split(".")
    value = {section: {field: "some/where"}}
    inside = {"file": value, "environment": {}, "profile": {"profiles": {"quick": value}}}[layer]
    params.write_text(yaml.safe_dump(inside), encoding="utf-8")
    variable = f"EVERLEARN_{section.upper()}__{field.upper()}"
    environ = {variable: "some/where"} if layer == "environment" else {}
    for directory in (tmp_path, params.parent, Path("/")):
        monkeypatch.chdir(directory)
        relative = Path("project/mine.yaml") if directory == tmp_path else params
        assert RESOLVED[name](load(relative, environ=environ)) == params.parent / "some" / "where"


def test_state_and_inbox_are_beside_a_named_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "params.yaml").touch()
    monkeypatch.chdir("/")
    installation = Installation.beside(project / "params.yaml", home=None)
    assert installation.home == project / ".everlearn"
    assert installation.inbox == project / ".everlearn" / "inbox" / "integration"
