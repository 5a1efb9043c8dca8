"""One step of training: choose problems, sample and verify answers, check the guards, take one GRPO step."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from everlearn.counters import cpu_seconds
from everlearn.errors import ModelError
from everlearn.ladder.tree import CurvePoint
from everlearn.training.engines import collectives
from everlearn.training.gpu import compared_with_plan
from everlearn.training.guards import rollout_statistics, triggered_guard
from everlearn.training.job import PSEUDO
from everlearn.training.memory_plan import update_memory
from everlearn.training.preflight import check_rewards, check_sampler
from everlearn.training.pseudo_labels import with_pseudo_labels
from everlearn.training.rollouts import Solver, attempt, seed_of
from everlearn.training.training_run import StepRollouts
from everlearn.training.update import update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.training.models.llama import Model
    from everlearn.training.rollouts import Group
    from everlearn.training.training_run import TrainingRun


def train_step(run: TrainingRun, *, budget_used: float, last: bool = False) -> CurvePoint:
    """Take one step: rollouts, guards, update. `budget_used` is the share of the budget, for the learning rate.

    With `staleness` 1 the answers of the next step are sampled during the update, unless this step is the `last`. When
    a guard is triggered, nothing is updated and the newest good parameters are restored.
    """
    started, settings = cpu_seconds(), run.settings
    rollouts = run.prefetched or sample_rollouts(run)
    groups = collectives.gather(rollouts.groups)
    collectives.merge(run.recorded)  # the checkpoint of the first process is that of all
    asked = [group for group in groups if group.is_asked]
    if not asked:
        raise ModelError(
            "no prompt of this step leaves room for an answer in the model's context: lower format.max_tokens"
        )
    if not run.is_checked:  # on the answers of all processes: the share of one may be empty
        check_sampler(run, asked)
        run.is_checked = True
    check_rewards(groups, domain=run.domain.name)
    outcomes = _record_outcomes(run, groups)
    run.curriculum.learn(outcomes, {group.problem.id: (len(group.answers), group.passed) for group in groups})
    # All processes follow the statistics of the first: rounding must not let one of them stop alone.
    statistics = collectives.broadcast(rollout_statistics(asked, start=run.start, settings=settings))
    run.first = run.first or statistics
    run.stopped = triggered_guard(statistics, first=run.first, settings=settings)
    useful = [group for group in groups if 0 < sum(group.learned) < len(group.answers)]
    loss = 0.0
    if run.stopped is None:
        loss = _update_and_prefetch(run, rollouts, useful, budget_used=budget_used, last=last)
    if run.stopped is not None:
        _restore_good_parameters(run)
    run.spent += cpu_seconds() - started
    point = CurvePoint(
        step=run.step,
        cpu_seconds=run.spent,
        reward=statistics.right,
        groups_used=len(useful),
        groups_sampled=len(groups),
        kl=statistics.kl,
        loss=loss,
        pass_by_size={size: passed / tried for size, (tried, passed) in sorted(outcomes.items())},
        entropy=statistics.entropy,
        length=statistics.length,
        stopped=run.stopped,
    )
    run.curve.append(point)
    return point


def _update_and_prefetch(
    run: TrainingRun, rollouts: StepRollouts, useful: list[Group], *, budget_used: float, last: bool
) -> float:
    """Update on the useful groups while a second thread samples for the next step; return the loss."""
    run.good = run.parameters()
    # Prefetched answers come from older weights: the update starts from the current ones.
    model = current_model(run) if run.prefetched else rollouts.model
    run.step += 1
    is_prefetching = bool(run.settings.staleness and not last)
    if run.replicas is not None and not is_prefetching:
        run.replicas.sleep()
    with ThreadPoolExecutor(max_workers=1) as executor:
        # The thread reads `model`, a merged copy, so the update may change the adapter meanwhile.
        prefetch = executor.submit(sample_rollouts, run, model=model) if is_prefetching else None
        loss = _measured_update(run, useful, model=model, budget_used=budget_used) if useful else 0.0
        run.prefetched = prefetch.result() if prefetch else None
    return loss


def _measured_update(run: TrainingRun, useful: list[Group], *, model: Model, budget_used: float) -> float:
    """Update, and compare the memory of this process's first update with the plan."""
    if run.has_updated:
        return update(run, useful, model=model, budget_used=budget_used)
    run.has_updated = True
    limit = update_memory(model, run.settings)
    with compared_with_plan(model.device, limit=limit):
        return update(run, useful, model=model, budget_used=budget_used)


def choose_problems(run: TrainingRun) -> list[str]:
    """Return the digests of the next step's problems, a function of seed, step and the verdicts so far."""
    return run.curriculum.choose(random.Random(seed_of(run.seed, "choose", run.step)), count=run.settings.prompts)


def current_model(run: TrainingRun) -> Model:
    """Return the merged weights of the current policy, after loading its adapter into the replicas."""
    if run.replicas is not None:
        run.replicas.load(run.policy, version=f"step-{run.step}")
    return run.policy.snapshot(bf16=run.bf16)


def solver_of(run: TrainingRun, model: Model) -> Solver:
    """Return a solver that decodes with `model`, or with replicas that have loaded it, and judges with the run's judge."""
    return Solver(
        policy=run.policy, model=model, domain=run.domain, form=run.form, sampler=run.replicas, judge=run.judge
    )


def sample_rollouts(run: TrainingRun, *, model: Model | None = None) -> StepRollouts:
    """Return this process's share of the next step's answers, sampled by `model` or by the current policy."""
    model = model or current_model(run)
    solver = solver_of(run, model)
    problems = [run.problem(digest) for digest in collectives.share(choose_problems(run))]
    groups = attempt(
        solver,
        problems,
        group=run.settings.group,
        seed=seed_of(run.seed, run.step),
        temperature=run.settings.temperature,
    )
    if run.settings.pseudo_labels is not None:
        variants = {digest for digest, rung in run.ladder.rungs.items() if rung.parent is not None}
        groups = with_pseudo_labels(groups, solver=solver, variants=variants, share=run.settings.pseudo_labels)
    return StepRollouts(groups=groups, model=model)


def _restore_good_parameters(run: TrainingRun) -> None:
    with torch.no_grad():
        for tensor, good in zip(run.policy.parameters(), run.good, strict=True):
            tensor.copy_(good)


def _record_outcomes(run: TrainingRun, groups: Sequence[Group]) -> dict[int, tuple[int, int]]:
    """Return (rollouts, passes) by size class. Add correct answers to `run.rewarded`, and those of pseudo-labels, marked."""
    outcomes: dict[int, tuple[int, int]] = {}
    for group in groups:
        size = run.domain.size(group.statement)
        tried, passed = outcomes.get(size, (0, 0))
        outcomes[size] = (tried + len(group.answers), passed + group.passed)
        judged = zip(group.answers, group.verdicts, strict=True)
        right = dict.fromkeys(answer for answer, verdict in judged if verdict.is_correct)
        run.rewarded += [{"statement": group.statement, "answer": answer} for answer in right]
        agreed = dict.fromkeys(answer for answer, same in zip(group.answers, group.agreed or (), strict=False) if same)
        run.rewarded += [{"statement": group.statement, "answer": answer, PSEUDO: "majority"} for answer in agreed]
    return outcomes
