"""Test-time training: climb a ladder for one problem, with an adapter that is thrown away afterwards.

After LADDER (Simonds & Yoshiyama 2025, arXiv 2503.00735), which calls it TTRL: a problem that stays unsolved gets a
ladder of its own, and the policy is trained on it until it solves the problem or the budget is used up. The answer is
one that the verifier accepts and that the domain's second judgement, where it has one, confirms; otherwise there is
none. Nothing is written: the adapter that the policy came with stays as it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING, Any

import torch

from everlearn import counters
from everlearn.domains.contract import load_domain
from everlearn.domains.pool import second_judgement
from everlearn.ladder.tree import Ladder, references_of
from everlearn.training.job import PSEUDO
from everlearn.training.ladder_growth import extend, measure_rungs, plant
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.preflight import check_identity, check_policy
from everlearn.training.rollouts import attempt, judging, seed_of
from everlearn.training.train_step import current_model, solver_of, train_step
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.problem import Problem
    from everlearn.settings import LadderSettings, Settings
    from everlearn.training.models.formats.format import Format
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Group, Judge
    from everlearn.training.training_run import TrainingRun

RUNGS, BREADTH, TRIES, ROLLOUTS = 60, 12, 3, 4
"""Variants of one problem, problems of a layer that get variants, proposals for each move, answers from which a variant's
pass rate is measured: `ladder.*` for one root."""
PROMPTS = 16
"""Problems of a step. The curriculum chooses them: rarely the problem itself, before its variants are solved."""
SAMPLED_TOGETHER = 16
"""Answers sampled from one prompt: in the format `marked` each prompt has other markers, which decide whether any is right."""
PATIENCE = 30
"""Factor on the budget's CPU seconds for a comparison at equal rollouts, so that the rollouts end it and not the time."""


class By(StrEnum):
    """Step of a search that found the answer."""

    GREEDY = "greedy answer"
    SAMPLES = "samples"
    TRAINING = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of the search for the answer to one problem.

    `samples` are drawn before a ladder is grown; with `trains` false there is no ladder, and samples are drawn until
    the budget is used up (best of n). `rollouts` counts every sampled completion, proposals included, and `tokens` what
    these have sampled; 0: any number. The budget is looked at between the greedy answer, the samples, the ladder and
    the steps, so that a ladder or a step may exceed the seconds and the tokens. The rollouts are never exceeded: a
    ladder is as large as they pay for, a step is taken where they pay for it, and what is left is samples.
    """

    cpu_seconds: float = 20.0
    rollouts: int = 0
    tokens: int = 0
    samples: int = 16
    trains: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Result for one problem: a verified answer and the step that found it, or None, and the cost.

    `contradicted` counts answers that `verify` accepted and the second judgement did not.
    """

    statement: str
    answer: str | None
    by: By | None
    rollouts: int
    tokens: int
    cpu_seconds: float
    rungs: int
    steps: int
    contradicted: int

    def to_content(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"by": self.by and str(self.by)}


def equal_rollouts(budget: Budget, rollouts: int) -> dict[str, Budget]:
    """Return the budget of each arm that a solution with a ladder is compared with, at as many rollouts as it has used.

    samples   best of n: the policy is not trained
    both      half of the rollouts are samples, the rest pays for a ladder, or for samples where it is too little
    """
    equal = replace(budget, cpu_seconds=PATIENCE * budget.cpu_seconds, rollouts=rollouts, tokens=0)
    return {
        "samples": replace(equal, trains=False),
        "both": replace(equal, samples=max(1, rollouts // 2)),
    }


def solve_beside(problem: Problem, *, budget: Budget, rollouts: int, **given: Any) -> dict[str, Solution]:
    """Solve a problem again by each arm of `equal_rollouts`, to compare with a solution that used that many rollouts.

    `budget` is that of the solution, and `given` are its other arguments of `solve`.
    """
    return {arm: solve(problem, budget=each, **given) for arm, each in equal_rollouts(budget, rollouts).items()}


def solve(
    problem: Problem,
    *,
    base: Path,
    adapter: Path | None,
    settings: Settings,
    budget: Budget,
    verifiers: int = 0,
    identity: str | None = None,
) -> Solution:
    """Solve one problem within a budget, deterministically but for the limit of CPU seconds.

    The sections `learn`, `ladder`, `format` and `compute` of the settings are those of a night. `identity` is that of
    the base that the adapter was trained on; None: not known.

    Raises:
        GrammarError: the problem cannot be stated to the model.
        ModelError: the base or the adapter cannot be used, or a check before the first gradient finds a silent fault (`preflight`).
    """
    check_identity(
        base, identity, of="the adapter was trained on", otherwise="solve with the base model (`--version base`)"
    )
    torch.set_num_threads(settings.threads)
    with (
        judging(problem.domain, verifiers=verifiers) as judges,
        second_judgement(problem.domain, workers=min(1, verifiers)) as recheck,
    ):
        search = _Search(
            problem,
            base=base,
            adapter=adapter,
            settings=settings,
            budget=budget,
            judge=judges.judge,
            recheck=recheck,
        )
        search.answer()
        return search.solution()


class _Search:
    """The state of one problem: the policy in training, what was spent, and what was found."""

    def __init__(
        self,
        problem: Problem,
        *,
        base: Path,
        adapter: Path | None,
        settings: Settings,
        budget: Budget,
        judge: Judge | None,
        recheck: Judge,
    ) -> None:
        self._problem, self._budget, self._judge, self._recheck = problem, budget, judge, recheck
        self._began, self._counted = counters.cpu_seconds(), counters.snapshot()
        self._seed = seed_of(settings.learn.seed, "solve", problem.statement)
        growth = {"rungs": RUNGS, "breadth": BREADTH, "tries": TRIES, "rollouts": ROLLOUTS}
        self._growth = settings.ladder.model_copy(update=growth)
        self._learn = settings.learn.model_copy(update={"prompts": PROMPTS, "staleness": 0, "processes": 1})
        self._domain = load_domain(problem.domain)
        # A mixture has a second judgement if one of its domains has: of a problem of another one it is undecided.
        self._has_recheck = load_domain(self._domain.part(problem.statement)).has_recheck
        self._references = references_of([problem], domain=self._domain)
        rank, alpha = self._learn.rank, self._learn.alpha
        policy = load_policy(base, adapter, rank=rank, alpha=alpha, seed=self._seed, compute=settings.compute)
        self._run = self._begin(Ladder(), policy=policy, form=choose_format(policy, self._domain, settings.format))
        self._found: tuple[str, By] | None = None
        self._contradicted: set[str] = set()
        self._has_room = True

    def _begin(self, ladder: Ladder, *, policy: Policy, form: Format) -> TrainingRun:
        """Return a training on that ladder at step 0."""
        run = start_run(
            policy,
            ladder,
            domain=self._domain,
            settings=self._learn,
            seed=self._seed,
            references=self._references,
            form=form,
        )
        run.judge = self._judge
        return run

    def answer(self) -> None:
        """Ask greedily, then sample, then climb, until there is an answer or the budget is used up.

        A problem that leaves no room for an answer in the model's context has none, whatever the budget is.
        """
        self._ask(By.GREEDY, group=1)
        while self._goes_on() and (left := self._samples_left()) > 0:
            self._sample(By.SAMPLES, at_most=left)
        growth = self._affordable_growth() if self._budget.trains and self._goes_on() else None
        if growth is not None:
            self._grow(growth)
            self._climb()
        while self._goes_on():  # what no step is paid by, or is left where a guard has stopped the training
            self._sample(By.TRAINING if self._run.step else By.SAMPLES, at_most=self._rollouts_left())

    def solution(self) -> Solution:
        """Return what came out."""
        answer, by = self._found or (None, None)
        return Solution(
            statement=self._problem.statement,
            answer=answer,
            by=by,
            rollouts=self._rollouts(),
            tokens=self._tokens(),
            cpu_seconds=round(self._seconds(), 2),
            rungs=len(self._run.ladder.rungs),
            steps=self._run.step,
            contradicted=len(self._contradicted),
        )

    def _affordable_growth(self) -> LadderSettings | None:
        """Return how the largest ladder grows that the rollouts left pay for together with a step; None: they pay for none.

        Every proposal that may be decoded is counted, so that the ladder may take less.
        """
        if not self._budget.rollouts:
            return self._growth
        depth, proposals = self._growth.depth, len(self._domain.moves) * TRIES
        for rungs in range(RUNGS, 0, -1):
            breadth = ceil(BREADTH * rungs / RUNGS)
            cost = (1 + (depth - 1) * breadth) * proposals + (1 + rungs) * self._growth.rollouts
            if cost + self._step_rollouts() <= self._rollouts_left():
                return self._growth.model_copy(update={"rungs": rungs, "breadth": breadth})
        return None

    def _step_rollouts(self) -> int:
        """Return what a step and the answers to the problem after it sample."""
        return (1 + self._learn.prompts) * self._learn.group

    def _grow(self, growth: LadderSettings) -> None:
        """Grow a ladder below the problem with the present policy, measure it, and begin a training on it."""
        ladder = plant([self._problem.statement], domain=self._domain, forbidden=frozenset())
        solver = solver_of(self._run, current_model(self._run))
        extend(ladder, solver, forbidden=frozenset(), settings=growth, seed=self._seed)
        measure_rungs(
            solver,
            ladder,
            list(ladder.rungs),
            rollouts=growth.rollouts,
            temperature=growth.answer_temperature,
            seed=seed_of(self._seed, "before"),
            references=self._references,
        )
        self._run = self._begin(ladder, policy=self._run.policy, form=self._run.form)

    def _climb(self) -> None:
        """Train on the ladder and try the problem after each step, as long as the rollouts left pay for both."""
        run = self._run
        check_policy(solver_of(run, run.start), list(map(run.problem, run.ladder.rungs)))
        while self._goes_on() and run.stopped is None:
            if self._budget.rollouts and self._rollouts_left() < self._step_rollouts():
                break
            before = len(run.rewarded)
            train_step(run, budget_used=self._used())
            for row in run.rewarded[before:]:  # the problem itself is a rung, too
                if row["statement"] == self._problem.statement and PSEUDO not in row:
                    self._keep(row["answer"], By.TRAINING)
            if self._goes_on():
                size = min(run.settings.group, self._rollouts_left())
                self._ask(By.TRAINING, group=size, seed=seed_of(self._seed, "try", run.step))

    def _ask(self, by: By, *, group: int, seed: int | None = None) -> None:
        """Let the policy of this moment answer the problem, greedily in float32 without a seed."""
        is_greedy = seed is None
        solver = solver_of(self._run, self._run.policy.snapshot(bf16=self._run.bf16 and not is_greedy))
        [answered] = attempt(solver, [self._problem], group=group, seed=seed or self._seed, greedy=is_greedy)
        self._has_room = answered.is_asked
        self._keep_first_accepted(answered, by)

    def _sample(self, by: By, *, at_most: int) -> None:
        """Sample answers to the problem from one prompt."""
        size = min(SAMPLED_TOGETHER, at_most, self._rollouts_left())
        self._ask(by, group=size, seed=seed_of(self._seed, "samples", self._rollouts()))

    def _keep_first_accepted(self, group: Group, by: By) -> None:
        """Keep the first answer that both judgements accept."""
        for answer, verdict in zip(group.answers, group.verdicts, strict=True):
            if verdict.is_correct:
                self._keep(answer, by)

    def _keep(self, answer: str, by: By) -> None:
        """Keep an answer that the verifier has accepted, if it is the first one and the second judgement accepts it."""
        if answer in self._contradicted:
            return
        if self._has_recheck and not self._recheck([(self._problem, answer)])[0].is_correct:
            self._contradicted.add(answer)
        elif self._found is None:
            self._found = answer, by

    def _goes_on(self) -> bool:
        return self._found is None and self._has_room and self._used() < 1

    def _used(self) -> float:
        """Return the used share of the budget: of seconds, rollouts or tokens, the largest."""
        budget = self._budget
        spent = (self._seconds(), self._rollouts(), self._tokens())
        limits = (budget.cpu_seconds, budget.rollouts, budget.tokens)
        return max(used / limit for used, limit in zip(spent, limits, strict=True) if limit)

    def _seconds(self) -> float:
        return counters.cpu_seconds() - self._began

    def _rollouts(self) -> int:
        return counters.snapshot()["rollouts"] - self._counted["rollouts"] + self._run.ladder.proposals

    def _tokens(self) -> int:
        return counters.snapshot()["tokens"] - self._counted["tokens"]

    def _samples_left(self) -> int:
        """Return how many samples may still be drawn before a ladder is grown, or in each round without one."""
        drawn = self._rollouts() - 1 if self._budget.trains else 0  # all but the greedy answer
        return self._budget.samples - drawn

    def _rollouts_left(self) -> int:
        left = self._budget.rollouts - self._rollouts() if self._budget.rollouts else self._budget.samples
        return max(1, left)
