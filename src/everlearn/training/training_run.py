"""The state of a training, which steps change and checkpoints save."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contract import PART_SIZES
from everlearn.ladder.curriculum import Curriculum
from everlearn.ladder.replay import repair_weights
from everlearn.ladder.tree import problem_of, rung_digest
from everlearn.settings import FormatSettings
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.precision import use_bf16

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.ladder.tree import CurvePoint, Ladder
    from everlearn.problem import Problem
    from everlearn.settings import LearnSettings
    from everlearn.training.engines.vllm import Replicas
    from everlearn.training.guards import RolloutStatistics
    from everlearn.training.job import Anchor
    from everlearn.training.models.formats.format import Format
    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy
    from everlearn.training.rollouts import Group, Judge


@dataclass(slots=True, kw_only=True)
class TrainingRun:
    """State of a training.

    `start` is the policy at step 0; `first` are the statistics of its answers. `good` holds the newest parameters whose
    own answers passed the guards, and `stopped` the reason of the guard that ended the training. `prefetched` are
    answers for the next step, sampled during the update (`staleness: 1`). `replicas` sample and `judge` verifies, where
    given; `recorded` are verdicts that were given up, kept so that a resumed training repeats them. `references` are
    those of the ladder's roots, by digest, `anchors` what `learn.anchor_kl` keeps the policy near. `is_checked` says
    whether this process has compared the sampler with the trainer, `has_updated` whether it has taken a step.
    """

    policy: Policy
    start: Model
    ladder: Ladder
    replay: dict[str, Problem]
    domain: Domain
    form: Format
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
    references: Mapping[str, str] = field(default_factory=dict, repr=False)
    anchors: Sequence[Anchor] = ()
    is_checked: bool = False
    has_updated: bool = False

    def problem(self, digest: str) -> Problem:
        """Return a problem of the ladder or of the replay."""
        rung = self.ladder.rungs.get(digest)
        if rung is None:
            return self.replay[digest]
        return problem_of(rung, domain=self.domain.name, references=self.references)

    def update_classes(self) -> None:
        """Sort all problems into the curriculum's size classes; needed after the ladder has grown.

        A replayed problem that is a rung as well is there once: equal seeds would give it the same answers twice.
        """
        classes: dict[int, list[str]] = {}
        for digest in dict.fromkeys([*self.ladder.rungs, *self.replay]):
            classes.setdefault(self.domain.size(self.problem(digest).statement), []).append(digest)
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
    policy: Policy,
    ladder: Ladder,
    *,
    domain: Domain,
    settings: LearnSettings,
    seed: int,
    replay: Sequence[Problem] = (),
    repaired: Collection[str] = (),
    references: Mapping[str, str] = MappingProxyType({}),
    form: Format | None = None,
) -> TrainingRun:
    """Return a run at step 0, whose curriculum starts from the pass rates in the ladder.

    Half of the draws of `replay` are for problems of the `repaired` skills. `references` are those of the ladder's
    roots, by digest. Without `form`, the model's usual one is used.
    """
    problems = [replace(problem, id=rung_digest(problem.statement, domain=domain)) for problem in replay]
    replayed = {problem.id: problem for problem in problems}
    curriculum = Curriculum(
        classes={},
        replay=settings.replay,
        frontier=settings.frontier,
        uniform=settings.curriculum == "uniform",
        posterior=settings.curriculum == "posterior",
        weight=_weights(replayed, domain=domain, repaired=repaired),
    )
    for rung in ladder.rungs.values():
        curriculum.count(domain.size(rung.statement), rollouts=rung.rollouts, passed=rung.passed, rung=rung.digest)
    # Earlier nights mastered what is replayed: a class of it that tonight did not measure is not the frontier.
    for size in {domain.size(problem.statement) for problem in problems} - curriculum.seen.keys():
        curriculum.count(size, rollouts=1, passed=1)
    bf16, on_gpu = use_bf16(settings.bf16), policy.base_model.device.type == "cuda"
    run = TrainingRun(
        policy=policy,
        start=policy.snapshot(bf16=bf16),
        ladder=ladder,
        replay=replayed,
        references=references,
        domain=domain,
        form=form or choose_format(policy, domain, FormatSettings()),
        settings=settings,
        curriculum=curriculum,
        optimizer=torch.optim.AdamW(
            policy.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=on_gpu or None
        ),
        seed=seed,
        bf16=bf16,
    )
    run.good = run.parameters()
    run.update_classes()
    return run


def _weights(replayed: Mapping[str, Problem], *, domain: Domain, repaired: Collection[str]) -> dict[str, float]:
    """Return what each replayed problem weighs, in each domain of a mixture for itself; empty where all weigh the same."""
    skills: dict[int, dict[str, str]] = {}
    for digest, problem in replayed.items():
        of_part = skills.setdefault(domain.size(problem.statement) // PART_SIZES, {})
        of_part[digest] = domain.skill(problem.statement)
    parts = [repair_weights(of_part, repaired=repaired) for of_part in skills.values()]
    return {digest: weight for part in parts for digest, weight in part.items()}
