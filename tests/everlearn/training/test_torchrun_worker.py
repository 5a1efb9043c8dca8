"""One process of a training by several, here alone in its group."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import load_ladder
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training import torchrun_worker
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DOMAIN = load_domain("integration")


def test_the_first_process_prints_progress_and_result(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    job = TrainingJob(
        base=tiny,
        adapter=None,
        ladder=plant(["x^2", "sin(x)"], domain=DOMAIN, forbidden=frozenset()),
        workdir=tmp_path,
        settings=LearnSettings(steps=1, prompts=2, group=2),
        ladder_settings=LadderSettings(rollouts=1),
        seed=1,
        threads=1,
    )
    monkeypatch.setattr(
        "torch.cuda.is_available", lambda: True
    )  # as on a GPU host: the tensors are on the CPU all the same
    torchrun_worker.main(job.save(tmp_path / "job" / "job.json"))
    point, checkpoint, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert (point["point"]["step"], point["steps"]) == (1, 1)
    assert checkpoint == {"checkpoint": str(tmp_path / "checkpoint")}
    assert result["trained"]["adapter"] == str(tmp_path / "adapter")
    assert result["trained"]["usage"][0].keys() >= {"tokens", "peak", "verifiers"}
    assert result["trained"]["curve"] == [point["point"]]
    assert list(load_ladder(tmp_path / "job" / "after.jsonl").rungs) == list(job.ladder.rungs)
