"""Anchors: the divergence from the parent on its own answers, its gradient, and what it does to a training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call

from everlearn.domains.contract import load_domain
from everlearn.settings import ComputeSettings, LadderSettings, LearnSettings
from everlearn.training.anchors import add_anchor_gradient, answer_anchors
from everlearn.training.engines import collectives
from everlearn.training.grpo import forward_divergence
from everlearn.training.job import AnchorJob, TrainingJob, load_job
from everlearn.training.ladder_growth import plant
from everlearn.training.models.llama import answer_logprobs
from everlearn.training.models.policy import load_policy
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run
from tests.support.adapters import shake

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.training.job import Anchor
    from everlearn.training.training_run import TrainingRun

DOMAIN = load_domain("integration")
MASTERED = tuple(map(DOMAIN.stated, ["3*x^2", "sin(2*x)", "exp(x) + 1/(x+1)", "4/x^3 - cos(3*x)", "5*x"]))
SETTINGS = LearnSettings(anchor_kl=0.3, anchors=4, temperature=0.8, tokens=60)


def answered(base: Path, adapter: Path | None = None, *, policy: str = "fast") -> tuple[Anchor, ...]:
    compute = ComputeSettings.model_validate({"policy": policy})
    return answer_anchors(
        AnchorJob(base=base, adapter=adapter, problems=MASTERED, settings=SETTINGS, threads=1, compute=compute)
    )


@pytest.fixture
def parent(tiny: Path, tmp_path: Path) -> Path:
    return shake(load_policy(tiny), seed=1, size=0.2).save(tmp_path / "parent")


def moved(tiny: Path, parent: Path, settings: LearnSettings = SETTINGS, *, policy: str = "fast") -> TrainingRun:
    """Return a run whose policy has moved away from the parent, with the parent's answers as anchors."""
    compute = ComputeSettings.model_validate({"policy": policy})
    ladder = plant(["x^2"], domain=DOMAIN, forbidden=frozenset())
    away = shake(load_policy(tiny, parent, compute=compute), seed=2, size=0.2)
    run = start_run(away, ladder, domain=DOMAIN, settings=settings, seed=5)
    run.anchors, run.step = answered(tiny, parent, policy=policy), 1
    return run


def gradients(run: TrainingRun) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in run.policy.parameters()]
    run.optimizer.zero_grad(set_to_none=True)
    return [grad for grad in found if grad is not None]


def dense_loss(run: TrainingRun, tiny: Path, anchors: tuple[Anchor, ...]) -> torch.Tensor:
    """Return the loss by transformers, answer by answer, with the adapter added to dense weights."""
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    scale = run.policy.alpha / run.policy.rank
    weights = {f"{name}.weight": pair for name, pair in run.policy.lora.items()}
    merged = {
        name: tensor.detach() + (scale * weights[name][1] @ weights[name][0] if name in weights else 0)
        for name, tensor in module.named_parameters()
    }
    total = torch.zeros(())
    for anchor in anchors:
        ids = torch.tensor([[*anchor.prompt, *anchor.answer]])
        logits = functional_call(module, merged, kwargs={"input_ids": ids}).logits[0, len(anchor.prompt) - 1 : -1]
        every = torch.log_softmax(logits / run.settings.temperature, dim=-1)
        gap = every.gather(1, torch.tensor(anchor.answer)[:, None])[:, 0] - torch.tensor(anchor.logprobs)
        total = total + (gap.exp() - 1 - gap).sum()
    return run.settings.anchor_kl * total / sum(len(anchor.answer) for anchor in anchors)


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_loss_and_gradient_are_those_of_dense_weights(policy: str, tiny: Path, parent: Path) -> None:
    run = moved(tiny, parent, SETTINGS.model_copy(update={"anchors": 9}), policy=policy)
    assert len(run.anchors) == len(MASTERED)
    loss = add_anchor_gradient(run, model=run.policy.snapshot())
    found = gradients(run)
    expected = dense_loss(run, tiny, tuple(run.anchors))
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    assert loss > 0.001
    for one, other in zip(found, gradients(run), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_a_policy_that_is_the_parent_has_no_gradient(policy: str, tiny: Path, parent: Path) -> None:
    compute = ComputeSettings.model_validate({"policy": policy})
    run = moved(tiny, parent, policy=policy)
    run.policy = load_policy(tiny, parent, compute=compute)
    assert add_anchor_gradient(run, model=run.policy.snapshot()) == pytest.approx(0.0, abs=1e-6)
    assert max(float(grad.abs().max()) for grad in gradients(run)) < 1e-4


def test_the_gradient_of_the_estimate_is_that_of_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    parent = torch.log_softmax(torch.randn(1, 7, generator=generator, dtype=torch.float64), dim=1)
    logits = torch.randn(1, 7, generator=generator, dtype=torch.float64).requires_grad_()
    new, every = torch.log_softmax(logits, dim=1), torch.ones(1, 7, dtype=torch.bool)
    estimate = (parent.exp() * forward_divergence(new, parent, mask=every)).sum()
    exact = (parent.exp() * (parent - new)).sum()
    assert float(estimate.detach()) == pytest.approx(float(exact.detach()))
    [one], [other] = torch.autograd.grad(estimate, logits, retain_graph=True), torch.autograd.grad(exact, logits)
    torch.testing.assert_close(one, other)
    assert not forward_divergence(new, parent, mask=~every).any()


@pytest.mark.parametrize("count", [2, 5])
def test_gradients_of_several_processes_add_up(
    count: int, tiny: Path, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moved(tiny, parent)
    model = run.policy.snapshot()
    loss, whole = add_anchor_gradient(run, model=model), gradients(run)
    monkeypatch.setattr(collectives, "count", lambda: count)
    parts = []
    for rank in range(count):
        monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
        parts.append(add_anchor_gradient(run, model=model))
    assert sum(parts) == pytest.approx(loss)
    assert (0.0 in parts) is (count > SETTINGS.anchors), "a process without an anchor adds nothing"
    for one, other in zip(whole, gradients(run), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_every_step_draws_other_anchors_and_the_cut_into_batches_changes_nothing(tiny: Path, parent: Path) -> None:
    run = moved(tiny, parent)
    model = run.policy.snapshot()
    first = add_anchor_gradient(run, model=model)
    run.settings = SETTINGS.model_copy(update={"tokens": 10_000})
    assert add_anchor_gradient(run, model=model) == pytest.approx(first)
    losses = set()
    for run.step in range(1, 9):
        losses.add(round(add_anchor_gradient(run, model=model), 6))
    assert len(losses) > 1


def test_the_answers_of_the_parent_are_the_same_bits_each_time(tiny: Path, parent: Path) -> None:
    once = answered(tiny, parent)
    assert once == answered(tiny, parent)
    assert [anchor.statement for anchor in once] == [problem.statement for problem in MASTERED]
    assert all(len(anchor.answer) == len(anchor.logprobs) > 0 for anchor in once)


def job(
    base: Path, workdir: Path, *, anchor_kl: float = 0.0, anchors: tuple[Anchor, ...] = (), steps: int = 6
) -> TrainingJob:
    settings = LearnSettings(steps=steps, prompts=4, group=4, warmup=1, temperature=2.0, anchor_kl=anchor_kl)
    statements = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5", "2*exp(3*x) - x^4 + 1/x"]
    workdir.mkdir()
    return TrainingJob(
        base=base,
        adapter=None,
        ladder=plant(statements, domain=DOMAIN, forbidden=frozenset()),
        workdir=workdir,
        settings=settings,
        ladder_settings=LadderSettings(),
        seed=5,
        threads=1,
        anchors=anchors,
    )


def adapter_of(job: TrainingJob) -> dict[str, torch.Tensor]:
    return load_file(train(job).adapter / "adapter_model.safetensors")


def distance(base: Path, job: TrainingJob, anchors: tuple[Anchor, ...]) -> float:
    """Return how far the trained policy is from the parent on the anchors, in nats a token."""
    model = load_policy(base, job.workdir / "adapter").snapshot()
    prompts, answers = [anchor.prompt for anchor in anchors], [anchor.answer for anchor in anchors]
    with torch.no_grad():
        new = answer_logprobs(model, prompts, answers, temperature=2.0)
    parent = torch.tensor([score for anchor in anchors for score in anchor.logprobs])
    return float(forward_divergence(new, parent, mask=torch.ones_like(new)).mean())


def answered_by_base(shipped: Path) -> tuple[Anchor, ...]:
    settings = LearnSettings(temperature=2.0)
    return answer_anchors(AnchorJob(base=shipped, adapter=None, problems=MASTERED, settings=settings, threads=1))


def test_a_weight_of_zero_changes_no_bit(shipped: Path, tmp_path: Path) -> None:
    without = adapter_of(job(shipped, tmp_path / "without", steps=1))
    off = adapter_of(job(shipped, tmp_path / "off", anchors=answered_by_base(shipped), steps=1))
    assert any(tensor.any() for name, tensor in off.items() if "lora_B" in name), "the step has trained"
    assert all(torch.equal(without[name], tensor) for name, tensor in off.items())


def test_anchors_hold_the_policy_and_a_killed_training_resumes_to_the_same_bits(shipped: Path, tmp_path: Path) -> None:
    anchors = answered_by_base(shipped)
    free, held = job(shipped, tmp_path / "free"), job(shipped, tmp_path / "held", anchor_kl=0.3, anchors=anchors)
    train(free)
    whole = adapter_of(held)
    assert distance(shipped, held, anchors) < 0.5 * distance(shipped, free, anchors)

    class StopError(Exception):
        pass

    def stop(point: object, _: int) -> None:
        if getattr(point, "step", 0) == 3:
            raise StopError

    cut = replace(held, workdir=tmp_path / "cut")
    cut.workdir.mkdir()
    with pytest.raises(StopError):
        train(cut, on_step=stop)
    resumed = adapter_of(load_job(cut.save(tmp_path / "job.json")))
    assert all(torch.equal(whole[name], tensor) for name, tensor in resumed.items())
