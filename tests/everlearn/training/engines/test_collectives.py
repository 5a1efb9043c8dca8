"""Training by several processes is the same training."""

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
from everlearn.training.job import train
from everlearn.training.ladder_growth import plant
from everlearn.training.loop import begin, update
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import attempt

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5", "4/x^3 - cos(3*x)", "2*exp(3*x)", "7*x^6"]
SETTINGS = LearnSettings(bf16=False, prompts=6, group=4, max_norm=1e9, kl=0.05)


def gradient(base: Path) -> torch.Tensor:
    """The adapter's gradient in the first step on fixed groups, half of whose answers are called right."""
    torch.set_num_threads(1)
    policy = load_policy(base, rank=4, alpha=8, seed=3)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, 0.02, generator=generator)
    run = begin(policy, Ladder(), domain=DOMAIN, settings=SETTINGS, seed=1)
    model = policy.merged()
    groups = attempt(policy, model, STATEMENTS, domain=DOMAIN, group=4, seed=2, temperature=1.5)
    seen: list[torch.Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append(torch.cat([each.grad.flatten() for each in policy.parameters() if each.grad is not None]))

    run.optimizer.register_step_pre_hook(note)
    run.step = 1
    update(run, [group for group in groups if 0 < group.passed < 4], model=model, done=0.0)
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
        trained = train(
            shipped, None, ladder, settings=settings, ladder_settings=LadderSettings(rollouts=2), seed=5, threads=1,
            workdir=workdir, progress=lambda point, _, seen=points: seen.append(point),  # type: ignore[misc]
            checkpointed=checkpoints.append,
        )  # fmt: skip
        assert [point.step for point in points] == [1, 2, 3]
        assert len(checkpoints) == 3
        assert [json.loads(line) for line in trained.rewarded.read_text().splitlines()]
        found[processes] = (points, load_file(trained.adapter / "adapter_model.safetensors"))
    assert [point.reward for point in found[1][0]] == [point.reward for point in found[2][0]]
    for name, tensor in found[1][1].items():
        torch.testing.assert_close(found[2][1][name], tensor, atol=2e-3, rtol=1e-2)


def test_a_process_that_fails_is_told_with_what_to_do(tiny: Path, tmp_path: Path) -> None:
    settings = LearnSettings(processes=2, steps=1)
    with pytest.raises(EverlearnError, match="goes on from the newest checkpoint"):
        train(
            tmp_path / "no such base", None, Ladder(), settings=settings, ladder_settings=LadderSettings(), seed=1,
            threads=1, workdir=tmp_path / "work",
        )  # fmt: skip


def test_alone_everything_is_shared_with_nobody() -> None:
    assert collectives.share([1, 2, 3]) == collectives.gather([1, 2, 3]) == [1, 2, 3]
    assert collectives.agree("word") == "word"
