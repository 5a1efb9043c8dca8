"""Killed anywhere, a training goes on to the same bits."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from everlearn.domains.contract import load_domain
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.checkpoint import restore_checkpoint, save_checkpoint
from everlearn.training.job import train
from everlearn.training.ladder_growth import plant
from everlearn.training.loop import advance, begin
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from torch import Tensor

    from everlearn.ladder.tree import Ladder

DOMAIN = load_domain("integration")
STATEMENTS = [
    "3*x^2 - sin(2*x)",
    "exp(x) + 1/(x+1)",
    "x*cos(x) - 2*x + 5",
    "4/x^3 - cos(3*x)",
    "2*exp(3*x) - x^4 + 1/x",
]
SETTINGS = LearnSettings(steps=4, prompts=4, group=4, warmup=1, temperature=2.0)
OURS = str(Path("everlearn", "training"))


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())


def climb(
    base: Path, ladder: Ladder, workdir: Path, settings: LearnSettings = SETTINGS, *, verifiers: int = 0
) -> dict[str, Tensor]:
    """The adapter of a whole training."""
    workdir.mkdir(exist_ok=True)
    trained = train(
        base, None, ladder, settings=settings, ladder_settings=LadderSettings(rollouts=1), seed=5, threads=1,
        workdir=workdir, verifiers=verifiers,
    )  # fmt: skip
    assert sum(point.groups_used for point in trained.curve) >= 4  # or little would be shown
    return load_file(trained.adapter / "adapter_model.safetensors")


def counted(limit: int | None, what: Any) -> int:
    """How often functions of the learner were called while `what` ran; at the call `limit`, this process is killed."""
    calls = 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and OURS in frame.f_code.co_filename:
            calls += 1
            if calls == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        what()
    finally:
        sys.setprofile(None)
    return calls


def killed_at(call: int, what: Any) -> None:
    """Let a copy of this process begin `what` and be killed at that call."""
    child = os.fork()
    if child == 0:  # pragma: no cover - seen by the parent only
        counted(call, what)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bool((tensor == other[name]).all()) for name, tensor in one.items())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("points", [4, pytest.param(24, marks=pytest.mark.slow)])
def test_killed_at_any_call_it_goes_on_to_the_same_bits(
    points: int, shipped: Path, ladder: Ladder, tmp_path: Path
) -> None:
    whole: list[dict[str, Tensor]] = []
    calls = counted(None, lambda: whole.append(climb(shipped, ladder, tmp_path / "whole")))
    for point in range(points):
        workdir = tmp_path / str(point)
        killed_at(calls * (2 * point + 1) // (2 * points), lambda at=workdir: climb(shipped, ladder, at))
        assert same(climb(shipped, ladder, workdir), whole[0]), f"killed at call {point} of {points}"


def test_training_twice_gives_the_same_bits_even_while_answers_are_sampled_ahead(
    shipped: Path, ladder: Ladder, tmp_path: Path
) -> None:
    ahead = SETTINGS.model_copy(update={"staleness": 1})
    first = climb(shipped, ladder, tmp_path / "first", ahead)
    assert same(first, climb(shipped, ladder, tmp_path / "second", ahead))
    assert not same(first, climb(shipped, ladder, tmp_path / "exact"))


def test_the_number_of_verifiers_changes_nothing(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    here = climb(shipped, ladder, tmp_path / "here")
    for verifiers in (1, 2):
        assert same(here, climb(shipped, ladder, tmp_path / str(verifiers), verifiers=verifiers))


def test_verdicts_that_were_given_up_are_the_same_when_the_training_goes_on(
    shipped: Path, ladder: Ladder, tmp_path: Path
) -> None:
    run = begin(load_policy(shipped, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)
    run.recorded = {"[statement, answer, 0]": {"reason": "no verdict within 5 seconds"}}
    advance(run, done=0.0)
    save_checkpoint(run, tmp_path)
    again = begin(load_policy(shipped, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)
    assert restore_checkpoint(again, tmp_path)
    assert again.recorded == run.recorded
