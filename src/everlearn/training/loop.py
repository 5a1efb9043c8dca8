"""One step of training: choose problems, sample and verify answers, check the guards, take one GRPO step."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from everlearn.counters import cpu_seconds
from everlearn.ladder.curriculum import Curriculum
from everlearn.ladder.tree import CurvePoint, digest_of
from everlearn.training.engines import collectives
from everlearn.training.grpo import advantages, divergence, policy_loss, token_weights
from everlearn.training.guards import RolloutStatistics, rollout_statistics, triggered_guard
from everlearn.training.memory_plan import plan
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.precision import use_bf16
from everlearn.training.rollouts import Solver, attempt, batches, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Ladder
    from everlearn.settings import LearnSettings
    from everlearn.training.engines.vllm import Replicas
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Group, Judge


@dataclass(slots=True, kw_only=True)
class TrainingRun:
    """State of a training.

    `start` is the policy at step 0; `first` are the statistics of its answers. `good` holds the newest parameters whose
    own answers passed the guards, and `stopped` the reason of the guard that ended the training. `prefetched` are
    answers for the next step, sampled during the update (`staleness: 1`). `replicas` sample and `judge` verifies, where
    given; `recorded` are verdicts that were given up, kept so that a resumed training repeats them.
    """

    policy: Policy
    start: Model
    ladder: Ladder
    replay: dict[str, str]
    domain: Domain
    settings: LearnSettings
    curriculum: Curriculum
    optimizer: torch.optim.Optimizer
    seed: int
    bf16: bool
    step: int = 0
    spent: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    rewarded: list[dict[str, str]] = field(default_factory=list)
    first: RolloutStatistics | None = None
    good: list[torch.Tensor] = field(default_factory=list)
    stopped: str | None = None
    prefetched: StepRollouts | None = None
    replicas: Replicas | None = None
    judge: Judge | None = None
    recorded: dict[str, dict[str, str]] = field(default_factory=dict)

    def statement(self, digest: str) -> str:
        """Return the statement of a problem of the ladder or of the replay."""
        return self.ladder.rungs[digest].statement if digest in self.ladder.rungs else self.replay[digest]

    def update_classes(self) -> None:
        """Sort all problems into the curriculum's size classes; needed after the ladder has grown."""
        classes: dict[int, list[str]] = {}
        for digest in [*self.ladder.rungs, *self.replay]:
            classes.setdefault(self.domain.size(self.statement(digest)), []).append(digest)
        self.curriculum.classes = classes

    def parameters(self) -> list[torch.Tensor]:
        """Return a copy of the trained parameters."""
        return [tensor.detach().clone() for tensor in self.policy.parameters()]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRollouts:
    """Verified answers of one step, and the merged weights that sampled them."""

    groups: list[Group]
    model: Model


def start_run(
    policy: Policy, ladder: Ladder, *, domain: Domain, settings: LearnSettings, seed: int, replay: Sequence[str] = ()
) -> TrainingRun:
    """Return a run at step 0, whose curriculum starts from the pass rates in the ladder."""
    curriculum = Curriculum(
        classes={}, replay=settings.replay, frontier=settings.frontier, uniform=settings.curriculum == "uniform"
    )
    for rung in ladder.rungs.values():
        curriculum.count(domain.size(rung.statement), rollouts=rung.rollouts, passed=rung.passed)
    bf16 = use_bf16(settings.bf16)
    run = TrainingRun(
        policy=policy,
        start=policy.merged(bf16=bf16),
        ladder=ladder,
        replay={digest_of(domain.canonical(statement)): statement for statement in replay},
        domain=domain,
        settings=settings,
        curriculum=curriculum,
        optimizer=torch.optim.AdamW(policy.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.0),
        seed=seed,
        bf16=bf16,
    )
    run.good = run.parameters()
    run.update_classes()
    return run


def train_step(run: TrainingRun, *, budget_used: float, last: bool = False) -> CurvePoint:
    """Take one step: rollouts, guards, update. `budget_used` is the share of the budget, for the learning rate.

    With `staleness` 1 the answers of the next step are sampled during the update, unless this step is the `last`. When
    a guard is triggered, nothing is updated and the newest good parameters are restored.
    """
    started, settings = cpu_seconds(), run.settings
    rollouts = run.prefetched or sample_rollouts(run)
    groups = collectives.gather(rollouts.groups)
    outcomes = _record_outcomes(run, groups)
    run.curriculum.learn(outcomes)
    # All processes follow the statistics of the first: rounding must not let one of them stop alone.
    statistics = collectives.broadcast(rollout_statistics(groups, start=run.start, temperature=settings.temperature))
    run.first = run.first or statistics
    run.stopped = triggered_guard(statistics, first=run.first, settings=settings)
    useful = [group for group in groups if 0 < group.passed < len(group.answers)]
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
    with ThreadPoolExecutor(max_workers=1) as executor:
        # The thread reads `model`, a merged copy, so the update may change the adapter meanwhile.
        prefetch = executor.submit(sample_rollouts, run, model=model) if run.settings.staleness and not last else None
        loss = update(run, useful, model=model, budget_used=budget_used) if useful else 0.0
        run.prefetched = prefetch.result() if prefetch else None
    return loss


def choose_problems(run: TrainingRun) -> list[str]:
    """Return the digests of the next step's problems, a function of seed, step and the verdicts so far."""
    return run.curriculum.choose(random.Random(seed_of(run.seed, "choose", run.step)), count=run.settings.prompts)


def current_model(run: TrainingRun) -> Model:
    """Return the merged weights of the current policy, after loading its adapter into the replicas."""
    if run.replicas is not None:
        run.replicas.load(run.policy, version=f"step-{run.step}")
    return run.policy.merged(bf16=run.bf16)


def solver_of(run: TrainingRun, model: Model) -> Solver:
    """Return a solver that decodes with `model` in this process and judges with the run's judge."""
    return Solver(policy=run.policy, model=model, domain=run.domain, judge=run.judge)


def sample_rollouts(run: TrainingRun, *, model: Model | None = None) -> StepRollouts:
    """Return this process's share of the next step's answers, sampled by `model` or by the current policy."""
    model = model or current_model(run)
    solver = Solver(policy=run.policy, model=model, domain=run.domain, sampler=run.replicas, judge=run.judge)
    statements = [run.statement(digest) for digest in collectives.share(choose_problems(run))]
    groups = attempt(
        solver,
        statements,
        group=run.settings.group,
        seed=seed_of(run.seed, run.step),
        temperature=run.settings.temperature,
    )
    return StepRollouts(groups=groups, model=model)


def _restore_good_parameters(run: TrainingRun) -> None:
    with torch.no_grad():
        for tensor, good in zip(run.policy.parameters(), run.good, strict=True):
            tensor.copy_(good)


def _record_outcomes(run: TrainingRun, groups: Sequence[Group]) -> dict[int, tuple[int, int]]:
    """Return (rollouts, passes) by size class, and add the correct answers to `run.rewarded`."""
    outcomes: dict[int, tuple[int, int]] = {}
    for group in groups:
        size = run.domain.size(group.statement)
        tried, passed = outcomes.get(size, (0, 0))
        outcomes[size] = (tried + len(group.answers), passed + group.passed)
        judged = zip(group.answers, group.verdicts, strict=True)
        right = dict.fromkeys(answer for answer, verdict in judged if verdict.is_correct)
        run.rewarded += [{"statement": group.statement, "answer": answer} for answer in right]
    return outcomes


def learning_rate(budget_used: float, *, step: int, settings: LearnSettings) -> float:
    """Return the learning rate: a linear warm-up by steps, then linear decay to the share `settings.decay`."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return settings.rate * warm * (1 - (1 - settings.decay) * min(1.0, budget_used))


def update(run: TrainingRun, groups: list[Group], *, model: Model, budget_used: float) -> float:
    """Take one optimizer step on the groups and return the loss. `model` is the policy merged before the step.

    Several processes share the groups and sum their gradients. A non-finite gradient changes nothing and stops the run.
    """
    settings = run.settings
    answers = settings.group * len(groups)
    tokens = sum(len(completion.ids) for group in groups for completion in group.completions)
    mine = collectives.share(sorted(groups, key=longest_answer))
    lengths = [settings.group * longest_answer(group) for group in mine]
    prompt = max(len(group.prompt) for group in groups)
    cut = plan(model, longest=max(map(longest_answer, groups)) * settings.group, prompt=prompt, settings=settings)
    trained, total = run.policy.trained(model, checkpointing=cut.checkpointing), 0.0
    for batch in batches(lengths, budget=cut.tokens):
        # The loss is normalized by the whole step's answers and tokens, so the batches' gradients simply add up.
        loss = _loss(run, [mine[index] for index in batch], model=trained, answers=answers, tokens=tokens)
        loss.backward()
        total += float(loss.detach())
    collectives.add_gradients(run.policy.parameters())
    norm = torch.nn.utils.clip_grad_norm_(run.policy.parameters(), settings.max_norm)
    if torch.isfinite(norm):
        for entry in run.optimizer.param_groups:
            entry["lr"] = learning_rate(budget_used, step=run.step - 1, settings=settings)
        run.optimizer.step()
    else:
        run.stopped = "non-finite gradient"
    run.optimizer.zero_grad(set_to_none=True)
    return sum(collectives.gather([total]))


def longest_answer(group: Group) -> int:
    """Return the number of tokens of the group's longest answer."""
    return max(len(row.ids) for row in group.completions)


def _loss(run: TrainingRun, groups: list[Group], *, model: Model, answers: int, tokens: int) -> torch.Tensor:
    """Return the part of the step's loss that one batch of groups adds, divergence from the start included."""
    settings = run.settings
    rows = [completion for group in groups for completion in group.completions]
    prompts, ids = [group.prompt for group in groups], [row.ids for row in rows]
    rewards = torch.tensor([group.rewards for group in groups])
    gain = advantages(rewards, scaled=settings.scale_rewards).flatten()
    new, mask = token_logprobs(model, prompts, ids, temperature=settings.temperature)
    # One optimizer step for each batch of rollouts: the policy before the step is the policy being differentiated.
    old, sampler = new.detach(), torch.zeros(mask.shape)
    sampler[mask] = torch.tensor([score for row in rows for score in row.logprobs])
    loss = policy_loss(new, old, sampler, gain, mask=mask, settings=settings)
    if settings.kl:
        with torch.no_grad():
            reference, _ = token_logprobs(run.start, prompts, ids, temperature=settings.temperature)
        loss = loss + settings.kl * divergence(new, old, reference, mask=mask)
    return (loss * token_weights(mask.sum(1), settings=settings, answers=answers, tokens=tokens)).sum()
