"""Training a job: killed in the middle it resumes, and its ladder can grow during it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from everlearn.domains.contract import load_domain
from everlearn.settings import LadderSettings, LearnSettings
from everlearn.training.job import GrowthJob, TrainingJob
from everlearn.training.ladder_growth import grow, plant
from everlearn.training.models.policy import load_policy
from everlearn.training.train_step import choose_problems
from everlearn.training.trainer import train
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.ladder.tree import CurvePoint, Ladder

DOMAIN = load_domain("integration")
LADDER = LadderSettings(rungs=24, depth=3, breadth=8, rollouts=2)
LEARN = LearnSettings(steps=4, prompts=4, group=4, checkpoint_every=1, warmup=1)
ROOTS = (DOMAIN.problem("3*x^2 - sin(2*x) + exp(x) + 1/(x+1) - 2*x*cos(x) + log(x) + 4/x^3 - cos(3*x)"),)


@pytest.fixture(scope="module")
def ladder(shipped: Path) -> Ladder:
    return grow(GrowthJob(base=shipped, adapter=None, roots=ROOTS, settings=LADDER, seed=5, threads=1))


def job_of(base: Path, ladder: Ladder, workdir: Path, *, settings: LearnSettings = LEARN) -> TrainingJob:
    return TrainingJob(
        base=base,
        adapter=None,
        ladder=ladder,
        workdir=workdir,
        settings=settings,
        ladder_settings=LADDER,
        seed=5,
        threads=1,
    )


def train_and_die(job: TrainingJob) -> None:  # pragma: no cover (in a process that is killed)
    """Run the job and kill this process after the third step."""

    def die(point: CurvePoint, _steps: int) -> None:
        if point.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    train(job, on_step=die)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_in_the_middle_it_resumes_to_the_same_bits(shipped: Path, ladder: Ladder, tmp_path: Path) -> None:
    whole = load_file(train(job_of(shipped, ladder, tmp_path / "whole")).adapter / "adapter_model.safetensors")
    job = job_of(shipped, ladder, tmp_path / "cut")
    child = os.fork()
    if child == 0:  # pragma: no cover (killed)
        train_and_die(job)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    steps: list[int] = []
    resumed = train(job, on_step=lambda point, _: steps.append(point.step)).adapter
    assert steps == [3, 4]
    assert all(
        (tensor == whole[name]).all() for name, tensor in load_file(resumed / "adapter_model.safetensors").items()
    )


def test_the_ladder_grows_during_the_training(shipped: Path, tmp_path: Path) -> None:
    roots = plant([ROOTS[0].statement], domain=DOMAIN, forbidden=frozenset())
    settings = LearnSettings(steps=2, prompts=2, group=2, regrow=1)
    trained = train(job_of(shipped, roots, tmp_path, settings=settings))
    assert len(roots.rungs) == 1, "the job's ladder is not changed"
    assert len(trained.ladder.rungs) > 1


def test_checkpoints_follow_the_setting_and_the_last_step(tiny: Path, tmp_path: Path) -> None:
    ladder = plant(["3*x^2", "sin(x)"], domain=DOMAIN, forbidden=frozenset())
    settings = LearnSettings(steps=3, prompts=1, group=2, checkpoint_every=2, max_unended=2.0)
    steps: list[int] = []
    train(
        job_of(tiny, ladder, tmp_path, settings=settings),
        on_checkpoint=lambda folder: steps.append(json.loads((folder / "run.json").read_text())["step"]),
    )
    assert steps == [2, 3]


def test_a_forbidden_problem_is_never_replayed(tiny: Path, tmp_path: Path) -> None:
    ladder = plant(["sin(x)"], domain=DOMAIN, forbidden=frozenset())
    job = job_of(tiny, ladder, tmp_path, settings=LearnSettings(steps=1, prompts=4, group=2, max_unended=2.0))
    replay = (DOMAIN.problem("3*x^2"), DOMAIN.problem("cos(x)"))
    forbidden = frozenset({DOMAIN.equivalence("5*x^2")})
    [point] = train(replace(job, replay=replay, forbidden=forbidden)).curve
    assert point.groups_sampled == 2


def test_a_replayed_problem_that_tonights_ladder_has_as_well_is_drawn_once(tiny: Path) -> None:
    ladder = plant(["sin(x)", "3*x^2"], domain=DOMAIN, forbidden=frozenset())
    replay = [DOMAIN.problem("sin(x)"), DOMAIN.problem("cos(x)")]
    settings = LearnSettings(prompts=8)
    run = start_run(load_policy(tiny), ladder, domain=DOMAIN, settings=settings, seed=0, replay=replay)
    drawn = [run.problem(digest).statement for digest in choose_problems(run)]
    assert sorted(drawn) == ["3*x^2", "cos(x)", "sin(x)"]


def test_replayed_problems_of_a_size_that_tonight_did_not_measure_are_not_the_frontier(tiny: Path) -> None:
    ladder = plant(["sin(x) + x^2", "sin(x) + x^2 + exp(x) + log(x)"], domain=DOMAIN, forbidden=frozenset())
    for digest, passed in zip(list(ladder.rungs), (2, 0), strict=True):
        ladder.set_pass_rate(digest, rollouts=4, passed=passed)
    settings = LearnSettings(replay=0.3, frontier=0.15)
    replay = [DOMAIN.problem("cos(x)")]
    run = start_run(load_policy(tiny), ladder, domain=DOMAIN, settings=settings, seed=0, replay=replay)
    easy, medium, hard = (DOMAIN.size(text) for text in ("cos(x)", "sin(x) + x^2", "sin(x) + x^2 + exp(x) + log(x)"))
    assert run.curriculum.weights() == pytest.approx({easy: 0.3, medium: 0.7 * 0.85, hard: 0.7 * 0.15})


def test_half_of_the_draws_of_earlier_nights_problems_are_for_repaired_skills(tiny: Path) -> None:
    ladder = plant(["sin(x)"], domain=DOMAIN, forbidden=frozenset())
    replay = [DOMAIN.problem(f"{text}(x)") for text in ("cos", "exp", "log", "tan", "sqrt")]
    repaired = frozenset({DOMAIN.skill("cos(x)"), DOMAIN.skill("x^2")})
    run = start_run(
        load_policy(tiny), ladder, domain=DOMAIN, settings=LearnSettings(), seed=0, replay=replay, repaired=repaired
    )
    weights = {run.problem(digest).statement: weight for digest, weight in run.curriculum.weight.items()}
    assert {statement for statement, weight in weights.items() if weight == 2.5} == {"cos(x)"}
    assert sum(weights.values()) == pytest.approx(5)


def test_a_line_can_grow_the_rank_of_its_adapter_each_night(tiny: Path, tmp_path: Path) -> None:
    ladder = plant(["3*x^2", "sin(x)"], domain=DOMAIN, forbidden=frozenset())
    settings = LearnSettings(steps=1, prompts=1, group=2, rank=2, grow_rank=3, max_unended=2.0)
    first = train(job_of(tiny, ladder, tmp_path / "first", settings=settings)).adapter
    second = train(replace(job_of(tiny, ladder, tmp_path / "second", settings=settings), adapter=first)).adapter
    ranks = [json.loads((adapter / "adapter_config.json").read_text())["r"] for adapter in (first, second)]
    assert ranks == [2, 5]
