"""Running a job by torchrun: messages of the first process, and its failure."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from everlearn import counters
from everlearn.domains.contract import load_domain
from everlearn.errors import CycleBusyError, EverlearnError
from everlearn.ladder.tree import CurvePoint
from everlearn.settings import LadderSettings, LearnSettings, RolloutSettings
from everlearn.training.engines import torchrun
from everlearn.training.job import TrainingJob, load_job
from everlearn.training.ladder_growth import plant
from everlearn.training.trainer import train

if TYPE_CHECKING:
    from everlearn.ladder.tree import Ladder

DOMAIN = load_domain("integration")
POINT = CurvePoint(
    step=1, cpu_seconds=2.0, reward=0.5, groups_used=1, groups_sampled=2, kl=0.0, loss=0.1, pass_by_size={1: 0.5}
)


@pytest.fixture
def ladder() -> Ladder:
    return plant(["x^2", "sin(x)"], domain=DOMAIN, forbidden=frozenset())


@pytest.fixture
def job(ladder: Ladder, tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        base=tmp_path / "base",
        adapter=None,
        ladder=ladder,
        workdir=tmp_path / "work",
        settings=LearnSettings(processes=2),
        ladder_settings=LadderSettings(),
        seed=1,
        threads=1,
        rollouts=RolloutSettings(engine="vllm", servers=("http://gpu-1:8000",), adapters=tmp_path),
    )


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A script in place of torchrun and its processes."""
    script = tmp_path / "processes.py"
    monkeypatch.setattr(torchrun, "_command", lambda path, **_: [sys.executable, str(script), str(path)])
    return script


def test_an_error_of_a_callback_ends_the_processes(job: TrainingJob, launch: Path) -> None:
    message = json.dumps({"checkpoint": "somewhere"})
    launch.write_text(f"import time\nprint({message!r}, flush=True)\ntime.sleep(600)\n")

    def refuse(_: Path) -> None:
        raise CycleBusyError("taken over")

    with pytest.raises(CycleBusyError, match="taken over"):
        train(job, on_checkpoint=refuse)


def test_progress_and_result_of_the_first_process_are_passed_on(
    job: TrainingJob, ladder: Ladder, launch: Path, tmp_path: Path
) -> None:
    result = {"adapter": "a", "rewarded": "r", "policy": "fast policy", "curve": [asdict(POINT)]}
    usage = [{"tokens": 5, "rollouts": 2, "verdicts": 2, "gpu_milliseconds": 0, "peak": 0, "verifiers": 50.0}] * 2
    messages = [{"point": asdict(POINT), "steps": 4}, {"checkpoint": "c"}, {"trained": result | {"usage": usage}}]
    before, began = counters.snapshot(), counters.cpu_seconds()
    launch.write_text(f"for line in {[json.dumps(message) for message in messages]!r}: print(line)")
    (job.workdir / "job").mkdir(parents=True)
    ladder.save(job.workdir / "job" / "after.jsonl")
    seen: list[object] = []
    trained = train(job, on_step=lambda point, steps: seen.append((point, steps)), on_checkpoint=seen.append)
    assert seen == [(POINT, 4), Path("c")]
    assert (trained.adapter, trained.rewarded) == (Path("a"), Path("r"))
    assert (trained.curve, trained.policy) == ((POINT,), "fast policy")
    assert trained.ladder == ladder
    assert counters.snapshot()["tokens"] - before["tokens"] == 10, "what all processes sampled"
    assert counters.cpu_seconds() - began >= 100, "what their verifiers used"
    assert load_job(job.workdir / "job" / "job.json").rollouts == job.rollouts, "each process asks the servers"


@pytest.mark.parametrize("code", ["raise SystemExit(3)", ""], ids=["failed", "no result"])
def test_processes_without_a_result_are_an_error(job: TrainingJob, launch: Path, code: str) -> None:
    launch.write_text(code)
    with pytest.raises(EverlearnError, match=r"training by 2 processes failed \(exit \d\).*newest checkpoint"):
        train(job)


def test_the_command_names_an_importable_worker(tmp_path: Path) -> None:
    *_, flag, worker, path = torchrun._command(tmp_path, processes=2)
    assert (flag, path) == ("-m", str(tmp_path))
    assert worker == "everlearn.training.torchrun_worker"
