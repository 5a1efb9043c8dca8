"""Train one arm with one seed on a budget of sampled completions, and measure it on fresh problems."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everlearn import counters
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import load_domain
from everlearn.domains.integration.term_sums import join_sum, split_sum
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.settings import FormatSettings, LadderSettings, LearnSettings
from everlearn.training import update
from everlearn.training.ladder_growth import extend, measure_rungs, plant
from everlearn.training.loop import train_step
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import has_fast_bf16
from everlearn.training.rollouts import Solver, attempt, seed_of
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Ladder
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy
    from everlearn.training.training_run import TrainingRun

ON_A_LADDER = ("ladder", "uniform", "filtered", "random")
COURSES = {"course": range(4, 14), "short course": range(4, 7)}
TRAINED = (*ON_A_LADDER, *COURSES, "direct")
UNTRAINED = ("pieces", "best of n")
ARMS = (*TRAINED, *UNTRAINED)
HARD, LONGER = 14, 18
TABLE = (6, 10, HARD, LONGER)
SKILLS = (1, 2, 3)
SPLITS = {"dev": 11, "test": 23}
ROOTS = 120
COURSE_PROBLEMS = 600
POINTS = 5  # points of the curve, besides the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a row depends on besides its arm and seed. `rollouts` counts all sampled completions of a row."""

    split: str = "dev"
    rollouts: int = 6000
    items: int = 200
    skill_items: int = 400
    base: str = "data/base"


def run_arm(arm: str, *, seed: int, options: Options) -> dict[str, Any]:
    """Return the results of one arm and seed: for each size, a string with 1 for a right and 0 for another answer."""
    torch.set_num_threads(1)
    policy = load_policy(Path(options.base), seed=seed)
    tables = {size: problems(options, size=size, count=options.items, stream="table") for size in TABLE}
    skills = {size: problems(options, size=size, count=options.skill_items, stream="skill") for size in SKILLS}
    if arm in UNTRAINED:
        solve = _solve_in_pieces if arm == "pieces" else _solve_by_sampling
        return {"table": {size: solve(policy, tables[size], options=options) for size in (HARD, LONGER)}}
    before = {size: solve_greedily(policy, skills[size]) for size in SKILLS}
    forbidden = [statement for group in (*tables.values(), *skills.values()) for statement in group]
    trained = _train(arm, policy, seed=seed, options=options, forbidden=forbidden, watched=tables[HARD])
    return trained | {
        "table": {size: solve_greedily(policy, items) for size, items in tables.items()},
        "skills_before": before,
        "skills_after": {size: solve_greedily(policy, items) for size, items in skills.items()},
    }


def problems(options: Options, *, size: int, count: int, stream: str) -> list[str]:
    """Return fresh sums of `size` terms; `stream` separates roots, courses, evaluation and skills."""
    rng = random.Random(seed_of(SPLITS[options.split], stream, size))
    domain = load_domain("integration")
    return [domain.generate(rng, size=size).statement for _ in range(count)]


def _problems(statements: Iterable[str]) -> list[Problem]:
    return list(map(load_domain("integration").stated, statements))


def _solver(policy: Policy, model: Model) -> Solver:
    domain = load_domain("integration")
    return Solver(policy=policy, model=model, domain=domain, form=choose_format(policy, domain, FormatSettings()))


def solve_greedily(policy: Policy, statements: Sequence[str]) -> str:
    """Answer each problem once, greedily."""
    solver = _solver(policy, policy.snapshot())
    return _marks(group.passed for group in attempt(solver, _problems(statements), group=1, seed=1, greedy=True))


def _solve_in_pieces(policy: Policy, statements: Sequence[str], *, options: Options) -> str:  # noqa: ARG001
    """Ask two terms of each sum at a time, greedily, join the answers, and verify the whole."""
    domain = load_domain("integration")
    solver = _solver(policy, policy.snapshot())
    passed = []
    for statement in statements:
        terms = split_sum(statement)
        pieces = [join_sum(terms[start : start + 2]) for start in range(0, len(terms), 2)]
        groups = attempt(solver, _problems(pieces), group=1, seed=1, greedy=True)
        answer = " + ".join(f"({group.answers[0]})" for group in groups)
        passed.append(domain.verify(domain.stated(statement), answer).is_correct)
    return _marks(passed)


def _solve_by_sampling(policy: Policy, statements: Sequence[str], *, options: Options) -> str:
    """Sample as many answers for each problem as a trained arm samples completions for one of these problems."""
    solver = _solver(policy, policy.snapshot(bf16=has_fast_bf16()))
    each = max(1, options.rollouts // len(statements))
    return _marks(group.passed for group in attempt(solver, _problems(statements), group=each, seed=1))


def _train(
    arm: str, policy: Policy, *, seed: int, options: Options, forbidden: Sequence[str], watched: Sequence[str]
) -> dict[str, Any]:
    """Train the policy in place until its completions are used up; return the curve on `watched`, and counts."""
    domain, meter = load_domain("integration"), _Meter()
    ladder = _problems_of(arm, policy, seed=seed, options=options, forbidden=forbidden, meter=meter)
    uniform = arm in {"uniform", "random"}
    settings = LearnSettings(seed=seed, curriculum="uniform" if uniform else "measured")
    run = start_run(policy, ladder, domain=domain, settings=settings, seed=seed)
    if arm == "random":
        run.judge = _toss_coins
    if arm == "filtered":
        # Rewards of 0 and 1 as advantages: the gradient of the log-likelihood of the right answers alone.
        setattr(update, "advantages", lambda rewards, **_: rewards)  # noqa: B010 (mypy refuses the assignment)
    curve = [(0, _share(_pause(meter, policy, watched)))]
    while meter.spent() + settings.prompts * settings.group <= options.rollouts and run.stopped is None:
        train_step(run, budget_used=meter.spent() / options.rollouts)
        if meter.spent() >= len(curve) * options.rollouts / POINTS:
            curve.append((meter.spent(), _share(_pause(meter, policy, watched))))
            print(f"{arm}, seed {seed}: {curve[-1]} of {options.rollouts} completions", file=sys.stderr, flush=True)
    curve.append((meter.spent(), _share(_pause(meter, policy, watched))))
    return {
        "curve": curve,
        "rollouts": meter.spent(),
        "steps": run.step,
        "stopped": run.stopped,
        **_recheck(run, honest=arm != "random"),
    }


def _problems_of(
    arm: str, policy: Policy, *, seed: int, options: Options, forbidden: Sequence[str], meter: _Meter
) -> Ladder:
    """Return the problems that the arm trains on; proposals and measurements of a ladder are charged to `meter`."""
    domain, growing = load_domain("integration"), LadderSettings()
    keys = equivalence_keys(forbidden, domain=domain)
    if arm in COURSES:
        sizes = COURSES[arm]
        each = COURSE_PROBLEMS // len(sizes)
        course = [text for n in sizes for text in problems(options, size=n, count=each, stream=f"course {seed}")]
        return plant(course, domain=domain, forbidden=keys)
    roots = problems(options, size=HARD, count=ROOTS, stream=f"roots {seed}")
    ladder = plant(roots, domain=domain, forbidden=keys)
    if arm == "direct":
        return ladder
    solver = _solver(policy, policy.snapshot(bf16=has_fast_bf16()))
    extend(ladder, solver, forbidden=keys, settings=growing, seed=seed)
    meter.charge(sum(ladder.counts.values()))
    if arm in {"ladder", "filtered"}:
        digests, temperature = list(ladder.rungs), growing.answer_temperature
        measured = seed_of(seed, "before")
        measure_rungs(
            solver, ladder, digests, rollouts=growing.rollouts, temperature=temperature, seed=measured, references={}
        )
    return ladder


class _Meter:
    """Counts the sampled completions of a row, without those of its evaluations."""

    def __init__(self) -> None:
        self._start = counters.snapshot()["rollouts"]
        self._other = 0

    def charge(self, count: int) -> None:
        """Add completions that no counter has."""
        self._other += count

    def exclude(self, count: int) -> None:
        """Leave out completions of an evaluation."""
        self._other -= count

    def spent(self) -> int:
        return counters.snapshot()["rollouts"] - self._start + self._other


def _pause(meter: _Meter, policy: Policy, watched: Sequence[str]) -> str:
    """Evaluate the policy without charging it."""
    marks = solve_greedily(policy, watched)
    meter.exclude(len(watched))
    return marks


def _recheck(run: TrainingRun, *, honest: bool) -> dict[str, int]:
    """Return the number of distinct rewarded answers, and of those that are false at 50 digits."""
    distinct = sorted({(row["statement"], row["answer"]) for row in run.rewarded}) if honest else []
    return {"rewarded": len(distinct), "false_rewards": sum(_is_false(run.domain, *pair) for pair in distinct)}


def _is_false(domain: Domain, statement: str, answer: str) -> bool:
    return not domain.recheck(domain.stated(statement), answer).is_correct


def _toss_coins(pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """Judge each answer by a coin that depends on its text alone."""
    rulings = (Ruling.WRONG, Ruling.CORRECT)
    seeds = (seed_of("coin", problem.statement, answer) for problem, answer in pairs)
    return [Verdict(ruling=rulings[seed % 2], reason="a coin") for seed in seeds]


def _marks(passed: Any) -> str:
    return "".join("1" if each else "0" for each in passed)


def _share(marks: str) -> float:
    return marks.count("1") / len(marks)
