"""Structured log records of a night."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.prefect import Nights


@pytest.mark.slow
def test_log_records_have_their_run_and_no_secret(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLEARN_LOG", "json")
    ran = nights.run()
    assert ran.code == 0
    assert nights.server.secret_key not in ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line["logger"].startswith("everlearn")]
    assert {(line["line"], line["run"] is not None) for line in ours} == {("integration", True)}
    assert len({line["run"] for line in ours}) == 1
    steps = [line for line in ours if line["message"].startswith(("ladder:", "training", "gate:", "measure"))]
    assert {line["cycle"] for line in steps} == {ran.ended["cycle_key"]}
    assert len(steps) > 5
