"""Training by several processes gives the result of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import psutil
import pytest
import torch
from safetensors.torch import load_file

from everlearn.domains.contract import load_domain
from everlearn.errors import EverlearnError
from everlearn.ladder.tree import CurvePoint, Ladder
from everlearn.settings import ComputeSettings, LadderSettings, LearnSettings
from everlearn.training.checkpoint import restore_checkpoint, save_checkpoint
from everlearn.training.engines import collectives
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt
from everlearn.training.train_step import train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run
from everlearn.training.update import update
from tests.support.process_group import in_each_process

if TYPE_CHECKING:
    from pathlib import Path

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


def gradient(base: Path, *, policy_name: Literal["fast", "hub"]) -> torch.Tensor:
    """Return the adapter's gradient in the first step on fixed groups."""
    torch.set_num_threads(1)
    policy = load_policy(base, rank=4, alpha=8, seed=3, compute=ComputeSettings(policy=policy_name))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, 0.02, generator=generator)
    run = start_run(policy, Ladder(), domain=DOMAIN, settings=SETTINGS, seed=1)
    model = policy.snapshot()
    solver = Solver(policy=policy, model=model, domain=DOMAIN, form=run.form)
    groups = attempt(solver, list(map(DOMAIN.problem, STATEMENTS)), group=4, seed=2, temperature=1.5)
    recorded: list[torch.Tensor] = []

    def record(optimizer: torch.optim.Optimizer, *_: object) -> None:
        recorded.append(torch.cat([each.grad.flatten() for each in policy.parameters() if each.grad is not None]))

    run.optimizer.register_step_pre_hook(record)
    run.step = 1
    update(run, [group for group in groups if 0 < group.passed < 4], model=model, budget_used=0.0)
    return recorded[0]


@pytest.mark.parametrize("name", ["fast", "hub"])
def test_two_processes_have_the_gradient_of_one(shipped: Path, tmp_path: Path, name: Literal["fast", "hub"]) -> None:
    alone = gradient(shipped, policy_name=name)
    for together in in_each_process(lambda: gradient(shipped, policy_name=name).tolist(), tmp_path):
        assert float((torch.tensor(together) - alone).norm() / alone.norm()) <= 1e-6


@pytest.mark.slow
def test_two_processes_train_what_one_trains(shipped: Path, tmp_path: Path) -> None:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    results = {}
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
        results[processes] = (points, load_file(trained.adapter / "adapter_model.safetensors"))
    assert [point.reward for point in results[1][0]] == [point.reward for point in results[2][0]]
    for name, tensor in results[1][1].items():
        torch.testing.assert_close(results[2][1][name], tensor, atol=2e-3, rtol=1e-2)


@pytest.mark.slow
def test_a_failed_process_is_reported_with_the_remedy(tmp_path: Path) -> None:
    settings = LearnSettings(processes=2, steps=1)
    with pytest.raises(EverlearnError, match="goes on from the newest checkpoint"):
        train(job_of(tmp_path / "no such base", Ladder(), tmp_path / "work", settings=settings))


@pytest.mark.slow
def test_a_killed_process_ends_the_training_loudly_and_the_next_call_goes_on(shipped: Path, tmp_path: Path) -> None:
    settings = LearnSettings(steps=4, prompts=4, group=4, warmup=1, bf16=False, processes=2)
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    job = job_of(shipped, ladder, tmp_path / "work", settings=settings)

    def kill_one(point: CurvePoint, _: int) -> None:
        children = psutil.Process().children(recursive=True)
        workers = [each for each in children if "everlearn.training.torchrun_worker" in each.cmdline()[1:4]]
        if point.step == 2:
            max(workers, key=lambda each: each.pid).kill()

    with pytest.raises(EverlearnError, match=r"training by 2 processes failed.*goes on from the newest checkpoint"):
        train(job, on_step=kill_one)
    assert not [each for each in psutil.Process().children(recursive=True) if "torchrun" in " ".join(each.cmdline())]
    steps: list[int] = []
    train(job, on_step=lambda point, _: steps.append(point.step))
    assert steps[0] > 1
    assert steps[-1] == 4


def test_a_single_process_gets_back_its_input() -> None:
    assert collectives.share([1, 2, 3]) == collectives.gather([1, 2, 3]) == [1, 2, 3]
    assert collectives.broadcast("word") == "word"


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda:1", "cpu:gloo,cuda:nccl")])
def test_the_device_decides_the_backend(device: str, backend: str) -> None:
    assert collectives.backend_of(torch.device(device)) == backend


def test_shares_are_gathered_in_the_order_of_the_list(tmp_path: Path) -> None:
    def share_and_gather() -> tuple[list[int], list[int]]:
        mine = collectives.share(range(5))
        return mine, collectives.gather(mine)

    assert in_each_process(share_and_gather, tmp_path) == [([0, 2, 4], [0, 1, 2, 3, 4]), ([1, 3], [0, 1, 2, 3, 4])]


def test_all_processes_get_the_value_of_the_first(tmp_path: Path) -> None:
    assert in_each_process(lambda: collectives.broadcast(f"rank {collectives.rank()}"), tmp_path) == ["rank 0"] * 2


def test_entries_of_all_processes_are_merged(tmp_path: Path) -> None:
    def merge() -> dict[str, int]:
        entries = {f"only {collectives.rank()}": collectives.rank(), "both": collectives.rank()}
        collectives.merge(entries)
        return entries

    assert in_each_process(merge, tmp_path) == [{"only 0": 0, "only 1": 1, "both": 0}] * 2


def test_a_checkpoint_has_the_verdicts_that_any_process_gave_up(shipped: Path, tmp_path: Path) -> None:
    def step_and_save() -> list[str]:
        torch.set_num_threads(1)
        ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
        run, again = (
            start_run(load_policy(shipped, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)
            for _ in range(2)
        )
        run.recorded = {f"of process {collectives.rank()}": {"reason": "no verdict within 5 seconds"}}
        train_step(run, budget_used=0.0)
        if collectives.rank() == 0:
            save_checkpoint(run, tmp_path)
        collectives.wait_for_all()
        assert restore_checkpoint(again, tmp_path)
        return sorted(again.recorded)

    assert in_each_process(step_and_save, tmp_path) == [["of process 0", "of process 1"]] * 2


def test_gradients_are_summed_even_if_a_process_has_none(tmp_path: Path) -> None:
    def add() -> list[list[float]]:
        first, second = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
        if collectives.rank() == 0:
            (first * torch.tensor([1.0, 2.0])).sum().backward()
        else:
            (first.sum() * 10 + second.sum() * 5).backward()
        collectives.add_gradients([first, second])
        return [tensor.grad.tolist() for tensor in (first, second) if tensor.grad is not None]

    assert in_each_process(add, tmp_path) == [[[11.0, 12.0], [5.0]]] * 2
