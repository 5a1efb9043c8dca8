"""The training loop's one step: choose rungs, sample and verify answers, take one GRPO step."""

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
from everlearn.training.guards import Vitals, alarm, look
from everlearn.training.memory_plan import plan
from everlearn.training.models.llama import token_logprobs
from everlearn.training.rollouts import attempt, batches, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import Ladder
    from everlearn.settings import LearnSettings
    from everlearn.training.engines.vllm import Replicas
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Group, Judge


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())  # noqa: SLF001 (no public name for it yet)


@dataclass(slots=True, kw_only=True)
class TrainingRun:
    """Everything that one optimizer step reads and changes.

    `start` is the policy with which the training began; `good` are the newest parameters whose own answers looked well.
    `stopped` says which guard has ended the training. Answers are sampled by the `replicas` and judged by the `judge`, if
    there are any; `recorded` are verdicts that were given up, to be the same when the training goes on.
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
    first: Vitals | None = None
    good: list[torch.Tensor] = field(default_factory=list)
    stopped: str | None = None
    ahead: Rollouts | None = None
    replicas: Replicas | None = None
    judge: Judge | None = None
    recorded: dict[str, dict[str, str]] = field(default_factory=dict)

    def statement(self, digest: str) -> str:
        """The problem with that digest, of tonight's ladder or of an earlier night's."""
        return self.ladder.rungs[digest].statement if digest in self.ladder.rungs else self.replay[digest]

    def refill(self) -> None:
        """Sort what can be drawn into size classes, after the ladder has grown."""
        classes: dict[int, list[str]] = {}
        for digest in [*self.ladder.rungs, *self.replay]:
            classes.setdefault(self.domain.size(self.statement(digest)), []).append(digest)
        self.curriculum.classes = classes

    def parameters(self) -> list[torch.Tensor]:
        """A copy of what is trained."""
        return [tensor.detach().clone() for tensor in self.policy.parameters()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Verified answers of one step, and the merged copy of the weights that gave them."""

    groups: list[Group]
    model: Model


def begin(
    policy: Policy, ladder: Ladder, *, domain: Domain, settings: LearnSettings, seed: int, replay: Sequence[str] = ()
) -> TrainingRun:
    """A run at step 0. The curriculum starts from the pass rates that the ladder brings."""
    curriculum = Curriculum(
        classes={}, replay=settings.replay, frontier=settings.frontier, uniform=settings.curriculum == "uniform"
    )
    for rung in ladder.rungs.values():
        curriculum.count(domain.size(rung.statement), rollouts=rung.rollouts, passed=rung.passed)
    bf16 = has_fast_bf16() if settings.bf16 is None else settings.bf16
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
    run.refill()
    return run


def advance(run: TrainingRun, *, done: float, last: bool = False) -> CurvePoint:
    """One step: rollouts, update, curve. `done` is the share of the budget that is spent, for the schedule.

    With `staleness` 1, the answers of the next step are sampled meanwhile, unless this is the `last`. When a guard
    fires, nothing is updated, and the policy is again what it was when it was well.
    """
    started, settings = cpu_seconds(), run.settings
    rollouts = run.ahead or roll(run)
    groups = collectives.gather(rollouts.groups)
    outcomes = _outcomes(run, groups)
    run.curriculum.learn(outcomes)
    vitals = collectives.agree(look(groups, start=run.start, temperature=settings.temperature))
    run.first = run.first or vitals
    run.stopped = alarm(vitals, first=run.first, settings=settings)
    useful = [group for group in groups if 0 < group.passed < len(group.answers)]
    loss = 0.0
    if run.stopped is None:
        run.good = run.parameters()
        model = current(run) if run.ahead else rollouts.model
        run.step += 1
        with ThreadPoolExecutor(max_workers=1) as aside:
            ahead = aside.submit(roll, run, model=model) if settings.staleness and not last else None
            loss = update(run, useful, model=model, done=done) if useful else 0.0
            run.ahead = ahead.result() if ahead else None
    if run.stopped is not None:
        _go_back(run)
    run.spent += cpu_seconds() - started
    point = CurvePoint(
        step=run.step,
        cpu_seconds=run.spent,
        reward=vitals.right,
        groups_used=len(useful),
        groups_sampled=len(groups),
        kl=vitals.kl,
        loss=loss,
        pass_by_size={size: passed / tried for size, (tried, passed) in sorted(outcomes.items())},
        entropy=vitals.entropy,
        length=vitals.length,
        stopped=run.stopped,
    )
    run.curve.append(point)
    return point


def choose(run: TrainingRun) -> list[str]:
    """The problems of the run's next step, a function of its seed, its step and the verdicts so far."""
    return run.curriculum.choose(random.Random(seed_of(run.seed, "choose", run.step)), count=run.settings.prompts)


def current(run: TrainingRun) -> Model:
    """The policy as it is now, merged; the replicas have it, too."""
    if run.replicas is not None:
        run.replicas.load(run.policy, version=f"step-{run.step}")
    return run.policy.merged(bf16=run.bf16)


def roll(run: TrainingRun, *, model: Model | None = None) -> Rollouts:
    """This process's share of the answers of the run's next step, by `model` or by its policy as it is now."""
    model = model or current(run)
    groups = attempt(
        run.policy, model, [run.statement(digest) for digest in collectives.share(choose(run))], domain=run.domain,
        group=run.settings.group, seed=seed_of(run.seed, run.step), temperature=run.settings.temperature,
        sampler=run.replicas, judge=run.judge,
    )  # fmt: skip
    return Rollouts(groups=groups, model=model)


def _go_back(run: TrainingRun) -> None:
    """To the parameters whose answers were the last to look well."""
    with torch.no_grad():
        for tensor, good in zip(run.policy.parameters(), run.good, strict=True):
            tensor.copy_(good)


def _outcomes(run: TrainingRun, groups: Sequence[Group]) -> dict[int, tuple[int, int]]:
    """(rollouts, passes) by size class; what earned a reward goes on the record."""
    outcomes: dict[int, tuple[int, int]] = {}
    for group in groups:
        size = run.domain.size(group.statement)
        tried, passed = outcomes.get(size, (0, 0))
        outcomes[size] = (tried + len(group.answers), passed + group.passed)
        judged = zip(group.answers, group.verdicts, strict=True)
        right = dict.fromkeys(answer for answer, verdict in judged if verdict.is_correct)
        run.rewarded += [{"statement": group.statement, "answer": answer} for answer in right]
    return outcomes


def rate_at(done: float, *, step: int, settings: LearnSettings) -> float:
    """The learning rate: a warm-up by steps, then a straight line down to the share `settings.decay` of it."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return settings.rate * warm * (1 - (1 - settings.decay) * min(1.0, done))


def update(run: TrainingRun, groups: list[Group], *, model: Model, done: float) -> float:
    """One optimizer step on the informative groups; the loss. `model` is the policy's merged copy before the step.

    Several processes share the groups, and add up their gradients. Where the gradient is no number, there is no step, and the run is stopped.
    """
    settings = run.settings
    answers = settings.group * len(groups)
    tokens = sum(len(completion.ids) for group in groups for completion in group.completions)
    mine = collectives.share(sorted(groups, key=longest))
    lengths = [settings.group * longest(group) for group in mine]
    prompt = max(len(group.prompt) for group in groups)
    cut = plan(model, longest=max(map(longest, groups)) * settings.group, prompt=prompt, settings=settings)
    trained, total = run.policy.trained(model, frugal=cut.frugal), 0.0
    for batch in batches(lengths, budget=cut.tokens):
        loss = _loss(run, [mine[index] for index in batch], model=trained, answers=answers, tokens=tokens)
        loss.backward()
        total += float(loss.detach())
    collectives.add_gradients(run.policy.parameters())
    norm = torch.nn.utils.clip_grad_norm_(run.policy.parameters(), settings.max_norm)
    if torch.isfinite(norm):
        for entry in run.optimizer.param_groups:
            entry["lr"] = rate_at(done, step=run.step - 1, settings=settings)
        run.optimizer.step()
    else:
        run.stopped = "the gradient is no number any more"
    run.optimizer.zero_grad(set_to_none=True)
    return sum(collectives.gather([total]))


def longest(group: Group) -> int:
    """Tokens of the group's longest answer."""
    return max(len(row.ids) for row in group.completions)


def _loss(run: TrainingRun, groups: list[Group], *, model: Model, answers: int, tokens: int) -> torch.Tensor:
    """What one batch of groups adds to the loss of the step, the weighted divergence from the start included."""
    settings = run.settings
    rows = [completion for group in groups for completion in group.completions]
    prompts, ids = [group.prompt for group in groups], [row.ids for row in rows]
    rewards = torch.tensor([group.rewards for group in groups])
    gain = advantages(rewards, scaled=settings.scale_rewards).flatten()
    new, mask = token_logprobs(model, prompts, ids, temperature=settings.temperature)
    old, sampler = new.detach(), torch.zeros(mask.shape)
    sampler[mask] = torch.tensor([score for row in rows for score in row.logprobs])
    loss = policy_loss(new, old, sampler, gain, mask=mask, settings=settings)
    if settings.kl:
        with torch.no_grad():
            reference, _ = token_logprobs(run.start, prompts, ids, temperature=settings.temperature)
        loss = loss + settings.kl * divergence(new, old, reference, mask=mask)
    return (loss * token_weights(mask.sum(1), settings=settings, answers=answers, tokens=tokens)).sum()
