"""Growing a ladder and training resume to the same bits after a kill at any point."""

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
from everlearn.training import journal, ladder_growth, rollouts
from everlearn.training.checkpoint import open_journal, restore_checkpoint, save_checkpoint
from everlearn.training.job import GrowthJob, TrainingJob
from everlearn.training.ladder_growth import grow, plant
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import judging
from everlearn.training.train_step import train_step
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run

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
SETTINGS = LearnSettings(steps=4, prompts=4, group=4, warmup=1, temperature=2.0, regrow=3)
PACKAGE = str(Path("src", "everlearn", "training"))


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return plant(STATEMENTS, domain=DOMAIN, forbidden=frozenset())


@pytest.fixture
def _every_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a segment of the journal after each unit, not after ten seconds."""
    monkeypatch.setattr(journal, "SECONDS", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0.0)


def train_adapter(
    base: Path, ladder: Ladder, workdir: Path, settings: LearnSettings = SETTINGS, *, verifiers: int = 0
) -> dict[str, Tensor]:
    """Train and return the adapter."""
    workdir.mkdir(exist_ok=True)
    job = TrainingJob(
        base=base,
        adapter=None,
        ladder=ladder,
        workdir=workdir,
        settings=settings,
        ladder_settings=LadderSettings(rungs=20, depth=1, breadth=4, rollouts=1),
        seed=5,
        threads=1,
        verifiers=verifiers,
    )
    trained = train(job)
    assert sum(point.groups_used for point in trained.curve) >= 4  # else there would be nothing to compare
    return load_file(trained.adapter / "adapter_model.safetensors")


def count_calls(action: Any, *, kill_at: int | None) -> int:
    """Run `action` and return how often functions of the package were called; kill this process at call `kill_at`."""
    calls = 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and PACKAGE in frame.f_code.co_filename:
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


def run_and_kill(action: Any, *, at_call: int) -> None:
    """Run `action` in a forked process that is killed at that call."""
    child = os.fork()
    if child == 0:  # pragma: no cover (only the parent reports)
        count_calls(action, kill_at=at_call)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def grow_ladder(base: Path, workdir: Path) -> Ladder:
    """Grow a ladder of several layers, several units each, with its journal in `workdir`."""
    roots = tuple(DOMAIN.problem(f"{one} + {other}") for one in STATEMENTS for other in STATEMENTS if one != other)
    settings = LadderSettings(rungs=150, depth=2, breadth=20, rollouts=1)
    job = GrowthJob(base=base, adapter=None, roots=roots, settings=settings, seed=5, threads=1)
    workdir.mkdir(exist_ok=True)
    return grow(job, journal=open_journal(workdir, None))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bool((tensor == other[name]).all()) for name, tensor in one.items())


@pytest.mark.usefixtures("_every_unit")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("points", [pytest.param(3, marks=pytest.mark.slow), pytest.param(24, marks=pytest.mark.slow)])
def test_a_ladder_killed_at_any_call_grows_to_the_same_rungs(points: int, shipped: Path, tmp_path: Path) -> None:
    whole: list[Ladder] = []
    calls = count_calls(lambda: whole.append(grow_ladder(shipped, tmp_path / "whole")), kill_at=None)
    assert sum(rung.passed for rung in whole[0].rungs.values()) > 10
    for point in range(points):
        workdir = tmp_path / str(point)
        call = calls * (2 * point + 1) // (2 * points)
        run_and_kill(lambda at=workdir: grow_ladder(shipped, at), at_call=call)
        assert grow_ladder(shipped, workdir) == whole[0], f"killed at call {point} of {points}"


@pytest.mark.usefixtures("_every_unit")
def test_a_resumed_ladder_decodes_only_what_is_missing(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def count(action: Any) -> Any:
        def counted(solver: Any, texts: Any, **options: Any) -> Any:
            decoded.append(len(texts))
            return action(solver, texts, **options)

        return counted

    monkeypatch.setattr(ladder_growth, "complete", count(rollouts.complete))
    monkeypatch.setattr(ladder_growth, "attempt", count(rollouts.attempt))
    whole = grow_ladder(shipped, tmp_path)
    units = sorted((tmp_path / "checkpoint" / "journal").iterdir())
    assert len(units) == len(decoded) > 3
    for kept in (len(units), 2):
        for unit in units[kept:]:
            unit.unlink()
        decoded.clear()
        assert grow_ladder(shipped, tmp_path) == whole
        assert len(decoded) == len(units) - kept


@pytest.mark.usefixtures("_every_unit")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("points", [2, pytest.param(24, marks=pytest.mark.slow)])
def test_killed_at_any_call_it_resumes_to_the_same_bits(
    points: int, shipped: Path, ladder: Ladder, tmp_path: Path
) -> None:
    whole: list[dict[str, Tensor]] = []
    calls = count_calls(lambda: whole.append(train_adapter(shipped, ladder, tmp_path / "whole")), kill_at=None)
    for point in range(points):
        workdir = tmp_path / str(point)
        call = calls * (2 * point + 1) // (2 * points)
        run_and_kill(lambda at=workdir: train_adapter(shipped, ladder, at), at_call=call)
        assert same(train_adapter(shipped, ladder, workdir), whole[0]), f"killed at call {point} of {points}"


@pytest.mark.slow
def test_training_twice_gives_the_same_bits_with_staleness(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    ahead = SETTINGS.model_copy(update={"staleness": 1})
    first = train_adapter(shipped, ladder, tmp_path / "first", ahead)
    assert same(first, train_adapter(shipped, ladder, tmp_path / "second", ahead))
    assert not same(first, train_adapter(shipped, ladder, tmp_path / "exact"))


@pytest.mark.slow
def test_the_number_of_verifiers_changes_nothing(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    here = train_adapter(shipped, ladder, tmp_path / "here")
    for verifiers in (1, 2):
        assert same(here, train_adapter(shipped, ladder, tmp_path / str(verifiers), verifiers=verifiers))


def test_a_resumed_training_repeats_verdicts_that_were_given_up(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    run = start_run(load_policy(shipped, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)
    run.recorded = {"[statement, answer, 0]": {"reason": "no verdict within 5 seconds"}}
    train_step(run, budget_used=0.0)
    save_checkpoint(run, tmp_path)
    again = start_run(load_policy(shipped, rank=4), ladder.copy(), domain=DOMAIN, settings=SETTINGS, seed=1)
    assert restore_checkpoint(again, tmp_path)
    assert again.recorded == run.recorded


@pytest.mark.parametrize("verifiers", [0, 1])
def test_verdicts_that_were_given_up_stay_recorded(verifiers: int) -> None:
    earlier = {"[statement, answer, 0]": {"reason": "no verdict within 5 seconds"}}
    with judging("integration", verifiers=verifiers, recorded=earlier) as judges:
        assert judges.recorded == earlier
