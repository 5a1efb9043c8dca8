"""What stops a training that has lost its way, and what is left then."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.domains.contract import load_domain
from everlearn.ladder.tree import Ladder
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.guards import Vitals, alarm
from everlearn.training.job import train
from everlearn.training.ladder_growth import plant
from everlearn.training.loop import TrainingRun, advance, begin
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
STATEMENTS = ["3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5", "4/x^3 - cos(3*x)"]
WELL = Vitals(kl=0.1, entropy=0.5, length=20.0, unended=0.1, right=0.3)
SETTINGS = LearnSettings(steps=4, prompts=3, group=4, warmup=1, temperature=1.3)


@pytest.fixture
def run(shipped: Path) -> TrainingRun:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    return begin(load_policy(shipped, rank=4), ladder, domain=DOMAIN, settings=SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("ill", "words"),
    [
        ({"kl": float("nan")}, "no numbers"),
        ({"entropy": float("inf")}, "no numbers"),
        ({"kl": 3.5}, "3.50 nats a token away from its start; max_kl is 3"),
        ({"entropy": 0.0004}, "entropy fell to 0.0004 nats a token with 30% right"),
        ({"unended": 0.65}, "65% of the answers do not end, 10% at the start"),
    ],
)
def test_a_guard_says_what_it_saw_and_which_limit_was_passed(ill: dict[str, float], words: str) -> None:
    assert words in str(alarm(dataclasses.replace(WELL, **ill), first=WELL, settings=SETTINGS))


def test_no_guard_fires_while_all_is_well_or_when_a_policy_is_sure_and_right() -> None:
    assert alarm(WELL, first=WELL, settings=SETTINGS) is None
    assert alarm(dataclasses.replace(WELL, entropy=1e-5, right=0.97), first=WELL, settings=SETTINGS) is None


def test_the_policy_is_again_what_it_was_when_it_was_well(run: TrainingRun) -> None:
    advance(run, done=0.0)
    well = [tensor.clone() for tensor in run.good]
    trained = run.parameters()
    assert not all(map(torch.equal, trained, well))
    with torch.no_grad():
        for tensor in run.policy.parameters():
            tensor.mul_(30.0)
    point = advance(run, done=0.25)
    assert point.stopped
    assert run.stopped == point.stopped
    assert run.step == 1
    assert all(map(torch.equal, run.parameters(), well))


def test_a_gradient_that_is_no_number_changes_nothing(run: TrainingRun) -> None:
    before = run.parameters()
    for tensor in run.policy.parameters():
        tensor.register_hook(lambda gradient: gradient * torch.nan)
    point = advance(run, done=0.0)
    assert point.stopped == "the gradient is no number any more"
    assert all(map(torch.equal, run.parameters(), before))


def test_a_stopped_training_is_left_as_it_is_and_its_adapter_is_there_to_be_judged(
    shipped: Path, tmp_path: Path
) -> None:
    ladder = plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())
    settings = SETTINGS.model_copy(update={"max_kl": 1e-9, "rate": 0.05})
    for _ in range(2):
        trained = train(
            shipped, None, ladder, settings=settings, ladder_settings=LadderSettings(rollouts=1), seed=2, threads=1,
            workdir=tmp_path,
        )  # fmt: skip
        assert "nats a token away from its start" in str(trained.curve[-1].stopped)
        assert trained.curve[-1].step < settings.steps
        assert (trained.adapter / "adapter_model.safetensors").is_file()
    assert isinstance(trained.ladder, Ladder)
