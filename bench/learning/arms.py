"""Train one arm with one seed on a budget of completions or CPU seconds, and measure it on fresh problems."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.learning.subject import SUMS, Subject
from everlearn import counters
from everlearn.domains.contamination import equivalence_keys
from everlearn.domains.contract import Domain, find_domain, load_domain
from everlearn.domains.domain_names import make_plugin
from everlearn.problem import Problem, Ruling, Verdict
from everlearn.training import update
from everlearn.training.ladder_growth import extend, measure_rungs, plant
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.models.precision import use_bf16
from everlearn.training.rollouts import Solver, attempt, seed_of
from everlearn.training.train_step import train_step
from everlearn.training.trainer import is_due_to_grow, regrow
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from everlearn.ladder.tree import Ladder
    from everlearn.training.rollouts import Group
    from everlearn.training.training_run import TrainingRun

ON_A_LADDER = ("ladder", "posterior", "uniform", "filtered", "random", "variants", "four updates", "one answer")
COURSES = ("course", "short course")
TRAINED = (
    "ladder",
    "posterior",
    "uniform",
    "filtered",
    "random",
    *COURSES,
    "direct",
    "variants",
    "four updates",
    "one answer",
)
UNTRAINED = ("pieces", "best of n")
ARMS = (*TRAINED, *UNTRAINED)
SPLITS = {"dev": 11, "test": 23}
POINTS = 5  # points of the curve, besides the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a row depends on besides its arm and seed.

    `rollouts` counts all sampled completions of a row; with `cpu_seconds` above 0, these are its budget instead.
    """

    split: str = "dev"
    rollouts: int = 6000
    items: int = 200
    skill_items: int = 400
    base: str = SUMS.base
    cpu_seconds: int = 0


def run_arm(
    arm: str, *, seed: int, options: Options, subject: Subject = SUMS, keep: Path | None = None
) -> dict[str, Any]:
    """Return the results of one arm and seed: for each size, a string with 1 for a right and 0 for another answer.

    The adapter of a trained arm and what was rewarded are kept in the folder `keep`.
    """
    torch.set_num_threads(subject.threads)
    bench = Bench(subject=subject, options=options, seed=seed)
    tables = {size: bench.problems(size=size, count=options.items, stream="table") for size in subject.table}
    skills = {size: bench.problems(size=size, count=options.skill_items, stream="skill") for size in subject.skills}
    if arm in UNTRAINED:
        solve = bench.solve_in_pieces if arm == "pieces" else bench.solve_by_sampling
        return {"table": {size: solve(tables[size]) for size in (subject.hard, subject.longer)}}
    before = {size: bench.solve_greedily(skills[size]) for size in subject.skills}
    forbidden = [statement for group in (*tables.values(), *skills.values()) for statement in group]
    trained = bench.train(arm, forbidden=forbidden, watched=tables[subject.hard])
    if keep is not None:
        bench.keep(keep, cpu_seconds=trained["cpu_seconds"])
    return trained | {
        "table": {size: bench.solve_greedily(items) for size, items in tables.items()},
        "skills_before": before,
        "skills_after": {size: bench.solve_greedily(items) for size, items in skills.items()},
    }


class Bench:
    """One row in the making: the policy, which `train` changes, and its problems."""

    def __init__(self, *, subject: Subject, options: Options, seed: int) -> None:
        self.subject, self.options, self.seed = subject, options, seed
        self.domain = load_domain(subject.domain)
        self.policy = load_policy(Path(options.base), rank=subject.learn.rank, alpha=subject.learn.alpha, seed=seed)
        self.form = choose_format(self.policy, self.domain, subject.form)
        self.meter = Meter()
        self.rewarded: list[dict[str, str]] = []

    def problems(self, *, size: int, count: int, stream: str) -> list[str]:
        """Return fresh problems of that size; `stream` separates roots, courses, evaluation and skills."""
        rng = random.Random(seed_of(SPLITS[self.options.split], stream, size))
        draw = self.subject.draw or (lambda rng, size: self.domain.generate(rng, size=size).statement)
        return [draw(rng, size) for _ in range(count)]

    def solver(self, *, bf16: bool = False) -> Solver:
        """Return a solver with the weights of this moment."""
        return Solver(policy=self.policy, model=self.policy.snapshot(bf16=bf16), domain=self.domain, form=self.form)

    def attempt(self, statements: Sequence[str], *, group: int = 1, seed: int = 1, greedy: bool = False) -> list[Group]:
        """Return verified answers to each problem: greedy ones in float32, sampled ones as in training."""
        solver = self.solver(bf16=not greedy and use_bf16(self.subject.learn.bf16))
        return attempt(solver, list(map(self.domain.stated, statements)), group=group, seed=seed, greedy=greedy)

    def solve_greedily(self, statements: Sequence[str]) -> str:
        """Answer each problem once, greedily."""
        return to_marks(group.passed for group in self.attempt(statements, greedy=True))

    def solve_in_pieces(self, statements: Sequence[str]) -> str:
        """Let the subject ask for parts of each problem, greedily, and verify the joined answers."""
        if self.subject.solve_in_pieces is None:
            raise SystemExit(f"problems of {self.subject.domain} have no pieces: leave the arm out with --arms")

        def ask(parts: Sequence[str]) -> list[str]:
            return [group.answers[0] for group in self.attempt(parts, greedy=True)]

        answers = self.subject.solve_in_pieces(ask, statements)
        return to_marks(
            self.domain.verify(self.domain.stated(statement), answer).is_correct
            for statement, answer in zip(statements, answers, strict=True)
        )

    def solve_by_sampling(self, statements: Sequence[str]) -> str:
        """Sample as many answers for each problem as a trained arm has completions, or CPU seconds, for one of these problems."""
        if not self.options.cpu_seconds:
            each = max(1, self.options.rollouts // len(statements))
            return to_marks(group.passed for group in self.attempt(statements, group=each))
        end, passed, seed = self.meter.cpu_seconds() + self.options.cpu_seconds, [0] * len(statements), 0
        while not seed or self.meter.cpu_seconds() < end:
            seed += 1
            passed = [
                old + group.passed for old, group in zip(passed, self.attempt(statements, seed=seed), strict=True)
            ]
        return to_marks(passed)

    def train(self, arm: str, *, forbidden: Sequence[str], watched: Sequence[str]) -> dict[str, Any]:
        """Train the policy in place until the budget is used up; return the curve on `watched`, and counts."""
        started = time.monotonic()
        keys = equivalence_keys(forbidden, domain=self.domain)
        if arm == "variants":
            self.domain = DerivingDomain(make_plugin(find_domain(self.subject.domain)))
        ladder = self._problems_of(arm, forbidden=keys)
        usual = self.subject.learn
        curriculum = {"uniform": "uniform", "random": "uniform", "posterior": "posterior"}.get(arm, usual.curriculum)
        updates = 4 if arm == "four updates" else usual.updates
        settings = usual.model_copy(update={"seed": self.seed, "curriculum": curriculum, "updates": updates})
        run = start_run(self.policy, ladder, domain=self.domain, form=self.form, settings=settings, seed=self.seed)
        if arm == "random":
            run.judge = _toss_coins
        if arm == "filtered":
            # Rewards of 0 and 1 as advantages: the gradient of the log-likelihood of the right answers alone.
            setattr(update, "advantages", lambda rewards, **_: rewards)  # noqa: B010 (mypy refuses the assignment)
        curve = [(0, self._point(watched)[1], 0.0)]
        while (used := self._used(after=settings.prompts * settings.group)) < 1 and run.stopped is None:
            if arm in ON_A_LADDER and is_due_to_grow(run):
                asked = run.ladder.proposals
                regrow(run, forbidden=keys, settings=self.subject.growth)
                self._charge(run.ladder.proposals - asked)
            train_step(run, budget_used=used)
            if self._used() >= len(curve) / POINTS:
                curve.append(self._point(watched))
                print(f"{arm}, seed {self.seed}: {curve[-1]}", file=sys.stderr, flush=True)
        curve.append(self._point(watched))
        self.rewarded = run.rewarded
        return {
            "curve": curve,
            "rollouts": self.meter.completions(),
            "cpu_seconds": round(self.meter.cpu_seconds()),
            "minutes": round((time.monotonic() - started) / 60, 1),
            "tokens": round(sum((point.length or 0) * point.groups_sampled for point in run.curve) * settings.group),
            "steps": run.step,
            "stopped": run.stopped,
            **_recheck(run, honest=arm != "random" and run.domain.has_recheck),
        }

    def keep(self, folder: Path, *, cpu_seconds: float) -> None:
        """Save the adapter, the rewarded answers and the CPU seconds that they took, for `bench.context`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.save(folder / "adapter")
        rows = "".join(json.dumps(row) + "\n" for row in self.rewarded)
        (folder / "rewarded.jsonl").write_text(rows, encoding="utf-8")
        (folder / "cost.json").write_text(json.dumps({"cpu_seconds": cpu_seconds}), encoding="utf-8")

    def _used(self, *, after: int = 0) -> float:
        """Return the used share of the budget: of CPU seconds, or of completions with `after` more."""
        if self.options.cpu_seconds:
            return self.meter.cpu_seconds() / self.options.cpu_seconds
        share = self.meter.completions() / self.options.rollouts
        return share if self.meter.completions() + after <= self.options.rollouts else 1.0

    def _point(self, watched: Sequence[str]) -> tuple[int, float, float]:
        """Return the completions so far, the pass rate of the policy, measured without charging it, and the CPU seconds so far."""
        with self.meter.paused():
            rate = _share(self.solve_greedily(watched))
        return self.meter.completions(), rate, round(self.meter.cpu_seconds(), 1)

    def _charge(self, proposals: int) -> None:
        """Charge proposals of the model; variants that the domain derives are no completions."""
        if not isinstance(self.domain, DerivingDomain):
            self.meter.charge(proposals)

    def _problems_of(self, arm: str, *, forbidden: frozenset[str]) -> Ladder:
        """Return the problems that the arm trains on; proposals and measurements of a ladder are charged to the meter."""
        subject, growing = self.subject, self.subject.growth
        if arm in COURSES:
            sizes = subject.courses[arm]
            each, stream = subject.course_problems // len(sizes), f"course {self.seed}"
            course = [text for size in sizes for text in self.problems(size=size, count=each, stream=stream)]
            return plant(course, domain=self.domain, forbidden=forbidden)
        roots = self.problems(size=subject.hard, count=subject.roots, stream=f"roots {self.seed}")
        ladder = plant(roots, domain=self.domain, forbidden=forbidden)
        if arm == "direct":
            return ladder
        solver = self.solver(bf16=use_bf16(subject.learn.bf16))
        extend(ladder, solver, forbidden=forbidden, settings=growing, seed=self.seed)
        self._charge(ladder.proposals)
        if arm not in {"uniform", "random"}:
            measure_rungs(
                solver,
                ladder,
                list(ladder.rungs),
                rollouts=1 if arm == "one answer" else growing.rollouts,
                temperature=growing.answer_temperature,
                seed=seed_of(self.seed, "before"),
                references={},
            )
        return ladder


class DerivingDomain(Domain):
    """A domain whose own moves derive all variants of a ladder, though a model could write them."""

    @property
    def model_proposes(self) -> bool:
        """Whether the model is asked for variants."""
        return False


class Meter:
    """Counts the sampled completions and the CPU seconds of a row, without those of its evaluations."""

    def __init__(self) -> None:
        self._completions = -counters.snapshot()["rollouts"]
        self._cpu_seconds = -counters.cpu_seconds()

    def charge(self, completions: int) -> None:
        """Add completions that no counter has."""
        self._completions += completions

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what the block uses."""
        completions, seconds = self.completions(), self.cpu_seconds()
        yield
        self._completions -= self.completions() - completions
        self._cpu_seconds -= self.cpu_seconds() - seconds

    def completions(self) -> int:
        """Return the completions so far."""
        return counters.snapshot()["rollouts"] + self._completions

    def cpu_seconds(self) -> float:
        """Return the CPU seconds so far."""
        return counters.cpu_seconds() + self._cpu_seconds


def _recheck(run: TrainingRun, *, honest: bool) -> dict[str, int]:
    """Return the number of distinct rewarded answers, and of those that are false when judged again; none is, unless `honest`."""
    distinct = sorted({(row["statement"], row["answer"]) for row in run.rewarded})
    false = sum(_is_false(run.domain, *pair) for pair in distinct) if honest else 0
    return {"rewarded": len(distinct), "false_rewards": false}


def _is_false(domain: Domain, statement: str, answer: str) -> bool:
    return not domain.recheck(domain.stated(statement), answer).is_correct


def _toss_coins(pairs: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """Judge each answer by a coin that depends on its text alone."""
    rulings = (Ruling.WRONG, Ruling.CORRECT)
    seeds = (seed_of("coin", problem.statement, answer) for problem, answer in pairs)
    return [Verdict(ruling=rulings[seed % 2], reason="a coin") for seed in seeds]


def to_marks(passed: Iterable[object]) -> str:
    """Return 1 for each true value and 0 for each other."""
    return "".join("1" if each else "0" for each in passed)


def _share(marks: str) -> float:
    return marks.count("1") / len(marks)
