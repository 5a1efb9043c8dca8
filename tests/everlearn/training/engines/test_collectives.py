"""Training by several processes gives the result of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from everlearn.domains.contract import load_domain
from everlearn.errors import EverlearnError
from everlearn.ladder.tree import CurvePoint, Ladder
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.engines import collectives
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.loop import start_run, update
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt
from everlearn.training.trainer import train

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5", "4/x^3 - cos(3*x)", "2*exp(3*x)", "7*x^6"]
SETTINGS = LearnSettings(bf16=False, prompts=6, group=4, max_norm=1e9, kl=0.05)


def job_of(base: Path, ladder: Ladder, workdir: Path, *, settings: LearnSettings) -> TrainingJob:
    return TrainingJob(
        base=base,
        adapter=None,
        ladder=ladder,
        workdir=workdir,
        settings=settings,
        ladder_settings=LadderSettings(rollouts=2),
        seed=5,
        threads=1,
    )


def gradient(base: Path) -> torch.Tensor:
    """Return the adapter's gradient in the first step on fixed groups."""
    torch.set_num_threads(1)
    policy = load_policy(base, rank=4, alpha=8, seed=3)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, 0.02, generator=generator)
    run = start_run(policy, Ladder(), domain=DOMAIN, settings=SETTINGS, seed=1)
    model = policy.merged()
    solver = Solver(policy=policy, model=model, domain=DOMAIN)
    groups = attempt(solver, STATEMENTS, group=4, seed=2, temperature=1.5)
    seen: list[torch.Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append(torch.cat([each.grad.flatten() for each in policy.parameters() if each.grad is not None]))

    run.optimizer.register_step_pre_hook(note)
    run.step = 1
    update(run, [group for group in groups if 0 < group.passed < 4], model=model, budget_used=0.0)
    return seen[0]


def test_two_processes_have_the_gradient_of_one(shipped: Path, tmp_path: Path) -> None:
    alone = gradient(shipped)
    code = (
        "import sys; from pathlib import Path; import torch; from torch import distributed\n"
        "sys.path.insert(0, sys.argv[1]); import test_collectives as t\n"
        "distributed.init_process_group('gloo'); found = t.gradient(Path(sys.argv[2]))\n"
        "torch.save(found, f'{sys.argv[3]}/{distributed.get_rank()}.pt')\n"
    )
    (tmp_path / "one.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(tmp_path / "one.py"), str(Path(__file__).parent), str(shipped), str(tmp_path)]  # fmt: skip
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt")
        assert float((together - alone).norm() / alone.norm()) <= 1e-6


@pytest.mark.slow
def test_two_processes_train_what_one_trains(shipped: Path, tmp_path: Path) -> None:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    found = {}
    for processes in (1, 2):
        settings = LearnSettings(steps=3, prompts=4, group=4, warmup=1, bf16=False, processes=processes)
        points: list[CurvePoint] = []
        checkpoints: list[Path] = []
        workdir = tmp_path / str(processes)
        workdir.mkdir()
        job = job_of(shipped, ladder, workdir, settings=settings)
        trained = train(
            job,
            on_step=lambda point, _, seen=points: seen.append(point),  # type: ignore[misc]
            on_checkpoint=checkpoints.append,
        )
        assert [point.step for point in points] == [1, 2, 3]
        assert len(checkpoints) == 3
        assert [json.loads(line) for line in trained.rewarded.read_text().splitlines()]
        found[processes] = (points, load_file(trained.adapter / "adapter_model.safetensors"))
    assert [point.reward for point in found[1][0]] == [point.reward for point in found[2][0]]
    for name, tensor in found[1][1].items():
        torch.testing.assert_close(found[2][1][name], tensor, atol=2e-3, rtol=1e-2)


def test_a_failed_process_is_reported_with_the_remedy(tmp_path: Path) -> None:
    settings = LearnSettings(processes=2, steps=1)
    with pytest.raises(EverlearnError, match="goes on from the newest checkpoint"):
        train(job_of(tmp_path / "no such base", Ladder(), tmp_path / "work", settings=settings))


def test_a_single_process_gets_back_its_input() -> None:
    assert collectives.share([1, 2, 3]) == collectives.gather([1, 2, 3]) == [1, 2, 3]
    assert collectives.broadcast("word") == "word"
