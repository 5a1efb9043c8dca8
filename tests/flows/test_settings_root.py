"""Prefect passes settings between processes without their root directory, which each process derives again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.settings import Settings
from flows.run_cycle import CycleConfig, run_cycle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_flow_gets_the_settings_with_their_root(tmp_path: Path) -> None:
    settings = Settings.model_validate({}, context={"root": tmp_path})
    given = run_cycle.validate_parameters({"config": CycleConfig(settings=settings)})
    assert given["config"].settings.root == tmp_path


def test_settings_from_json_start_at_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = CycleConfig(settings=Settings.model_validate({}, context={"root": tmp_path / "client"})).model_dump_json()
    monkeypatch.chdir(tmp_path)
    assert CycleConfig.model_validate_json(sent).settings.root == tmp_path


def test_a_worker_reads_the_params_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("threads: 3", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = run_cycle.validate_parameters({"config": {}})
    assert (given["config"].settings.threads, given["config"].settings.root) == (3, tmp_path)
