"""Twelve faults that raise no error by themselves, each injected into a training of a tiny model.

`FAULTS` maps the name of a fault to a function that injects it in a folder and returns the sentence of the guard that
refused it. It raises `UnnoticedError` if the training went on.
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file

from everlearn.domains.arithmetic.domain import Arithmetic
from everlearn.domains.contract import Domain, load_domain
from everlearn.errors import EverlearnError
from everlearn.problem import Ruling, Verdict
from everlearn.settings import ComputeSettings, FormatSettings, LadderSettings, LearnSettings
from everlearn.training.engines.vllm import Replicas
from everlearn.training.job import TrainingJob
from everlearn.training.ladder_growth import plant
from everlearn.training.models import hub
from everlearn.training.models.adapter import save_adapter
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.hub import HubModel
from everlearn.training.models.policy import load_policy
from everlearn.training.preflight import check_identity, check_policy, check_saved
from everlearn.training.rollouts import Solver, attempt
from everlearn.training.train_step import solver_of, train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import StepRollouts, start_run
from tests.support import chat_models
from tests.support.adapters import shake
from tests.support.fake_vllm import FakeVllm
from tests.support.tiny_models import write_model
from tests.support.tokens import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.problem import Problem
    from everlearn.training.models.llama import Model
    from everlearn.training.training_run import TrainingRun

STATEMENTS = ["347 + 58", "12 + 9", "4 + 3"]
DOMAIN = load_domain("arithmetic")
FORM = FormatSettings(name="chat", max_tokens=8)
LEARN = LearnSettings(steps=1, prompts=3, group=4, rank=4, alpha=8, warmup=1, bf16=False)
HUB = ComputeSettings(policy="hub", device="cpu")


class UnnoticedError(AssertionError):
    """No guard has refused the fault."""


def begin(
    base: Path,
    *,
    compute: ComputeSettings | None = None,
    domain: Domain = DOMAIN,
    seed: int = 0,
    size: float = 0.3,
    rank: int = 4,
) -> TrainingRun:
    """Return a run at step 0 whose parent is a trained adapter."""
    policy = shake(load_policy(base, rank=rank, alpha=2 * rank, seed=seed, compute=compute), seed=seed, size=size)
    ladder = plant(STATEMENTS, domain=domain, forbidden=frozenset())
    form = choose_format(policy, domain, FORM)
    return start_run(
        policy, ladder, domain=domain, settings=LEARN.model_copy(update={"seed": seed}), seed=seed, form=form
    )


def prepared(run: TrainingRun) -> tuple[Solver, list[Problem]]:
    """Return what is checked of a run before its first step."""
    return solver_of(run, run.start), list(map(run.problem, run.ladder.rungs))


def sampled(run: TrainingRun, model: Model, *, temperature: float = 1.0) -> StepRollouts:
    """Return answers by `model`, which the run takes for its own policy's."""
    solver = Solver(policy=run.policy, model=model, domain=run.domain, form=run.form)
    problems = [run.problem(digest) for digest in run.ladder.rungs]
    groups = attempt(solver, problems, group=LEARN.group, seed=1, temperature=temperature)
    return StepRollouts(groups=groups, model=run.policy.snapshot())


def refused(action: Callable[[], Any]) -> str:
    """Return the message of the error that the action ends with."""
    try:
        action()
    except EverlearnError as error:
        return str(error)
    raise UnnoticedError


def job_of(base: Path, folder: Path, **changes: Any) -> TrainingJob:
    job = TrainingJob(
        base=base,
        adapter=None,
        ladder=plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset()),
        workdir=folder,
        settings=LEARN,
        ladder_settings=LadderSettings(rollouts=1),
        seed=0,
        threads=1,
        domain="arithmetic",
        form=FORM,
    )
    return replace(job, **changes)


def base_sampled(folder: Path) -> str:
    run = begin(chat_models.write_model(folder / "base"))
    run.prefetched = sampled(run, run.policy.base_model)
    return refused(lambda: train_step(run, budget_used=0.0))


def version_before_sampled(folder: Path) -> str:
    return _dropped(folder, stale=True)


def adapter_dropped_on_one_replica(folder: Path) -> str:
    return _dropped(folder, bare=True)


def _dropped(folder: Path, *, stale: bool = False, bare: bool = False) -> str:
    """Load two adapters into two servers in bfloat16, one of which has a fault at the second; return why it was dropped."""
    policy = load_policy(chat_models.write_model(folder / "base"), rank=4, alpha=8)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("everlearn.learn")
    log.addHandler(handler)
    try:
        with FakeVllm(policy, rounding=0.02) as bad, FakeVllm(policy, rounding=0.02) as good:
            client = Replicas([bad.url, good.url], stops=policy.stops, folder=folder / "adapters", dtype="bfloat16")
            client.load(shake(policy, seed=3, size=0.05), version="step-0")
            bad.stale, bad.bare = stale, bare
            client.load(shake(policy, seed=3, size=0.08), version="step-1")
            if client.alive != [good.url]:
                raise UnnoticedError
    finally:
        log.removeHandler(handler)
    return lines[-1]


def tokenizer_changed(folder: Path) -> str:
    base = chat_models.write_model(folder / "base")
    identity = fingerprint(base)
    path = base / "tokenizer.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    words = written["model"]["vocab"]
    words["3"], words["4"] = words["4"], words["3"]
    path.write_text(json.dumps(written), encoding="utf-8")
    return refused(lambda: train(job_of(base, folder / "work", base_identity=identity)))


def base_at_another_revision(folder: Path) -> str:
    base = chat_models.write_model(folder / "base")
    identity = fingerprint(base)
    path = base / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01
    save_file(weights, path, metadata={"format": "pt"})
    return refused(lambda: train(job_of(base, folder / "work", base_identity=identity)))


def end_token_masked(folder: Path) -> str:
    base = write_model("phi, bias of the head", folder / "base")
    path = base / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.bias"][end_of(load_policy(base))] = -1e9
    save_file(weights, path, metadata={"format": "pt"})
    return refused(lambda: train(job_of(base, folder / "work")))


class Templated(Arithmetic):
    """States its problems with the turns of a model's template."""

    def question(self, problem: Problem) -> str:
        return f"<|turn|>user\n{super().question(problem)}<|end|>\n<|turn|>assistant\n"


def template_applied_twice(folder: Path) -> str:
    run = begin(chat_models.write_model(folder / "base"), domain=Domain(Templated()))
    return refused(lambda: check_policy(*prepared(run)))


def sampled_at_another_temperature(folder: Path) -> str:
    run = begin(chat_models.write_model(folder / "base"))
    run.prefetched = sampled(run, run.policy.snapshot(), temperature=0.5)
    return refused(lambda: train_step(run, budget_used=0.0))


def _pad_right(rows: Sequence[list[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], dtype=torch.long)
    return ids, torch.ones_like(ids)


def padded_on_the_wrong_side(folder: Path) -> str:
    base = write_model("qwen2, biases", folder / "base")
    with mock.patch.object(hub, "pad_left", _pad_right):
        return refused(lambda: train(job_of(base, folder / "work", compute=HUB)))


def trained_head_not_saved(folder: Path) -> str:
    def without_last(directory: Path, lora: dict[str, Any], **options: Any) -> Path:
        return save_adapter(directory, dict(list(lora.items())[:-1]), **options)

    base = write_model("llama, tied", folder / "base")
    with mock.patch("everlearn.training.models.adapted_base.save_adapter", without_last):
        return refused(lambda: train(job_of(base, folder / "work")))


def dropout_left_on(folder: Path) -> str:
    run = begin(write_model("gpt2, transposed weights", folder / "base"), compute=HUB)
    assert isinstance(run.policy.base_model, HubModel)
    run.policy.base_model.module.train()
    try:
        return refused(lambda: check_policy(*prepared(run)))
    finally:
        run.policy.base_model.module.eval()


class _Unsure(Verdict):
    @property
    def is_correct(self) -> bool:
        return float("nan")  # type: ignore[return-value]


def rewards_are_not_numbers(folder: Path) -> str:
    run = begin(chat_models.write_model(folder / "base"))
    run.judge = lambda pairs: [_Unsure(ruling=Ruling.WRONG, reason="0/0") for _ in pairs]
    return refused(lambda: train_step(run, budget_used=0.0))


FAULTS: dict[str, Callable[[Path], str]] = {
    "answers sampled by the base instead of the adapter": base_sampled,
    "answers sampled by the adapter before": version_before_sampled,
    "adapter dropped on one of two replicas": adapter_dropped_on_one_replica,
    "tokenizer changed": tokenizer_changed,
    "base at another revision": base_at_another_revision,
    "end token masked": end_token_masked,
    "chat template applied twice": template_applied_twice,
    "log-probabilities of another temperature": sampled_at_another_temperature,
    "padding on the wrong side": padded_on_the_wrong_side,
    "trained layer not saved": trained_head_not_saved,
    "dropout left on": dropout_left_on,
    "rewards that are not numbers": rewards_are_not_numbers,
}


def healthy(
    base: Path,
    *,
    seed: int,
    compute: ComputeSettings | None,
    size: float,
    rank: int = 4,
    identity: str | None = None,
) -> None:
    """Prepare a training, take its first step and save it, with every check of the learner. Raises EverlearnError on a false alarm."""
    check_identity(base, identity)
    run = begin(base, compute=compute, seed=seed, size=size, rank=rank)
    check_policy(*prepared(run))
    train_step(run, budget_used=0.0)
    with tempfile.TemporaryDirectory() as folder:
        check_saved(run.policy, run.policy.save(Path(folder)))
