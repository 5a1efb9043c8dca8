"""What a night does with a model, as two calls: `grow` a ladder, `train` an adapter on it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from everlearn.counters import cpu_seconds
from everlearn.domains.contract import load_domain
from everlearn.training.checkpoint import restore_checkpoint, save_checkpoint
from everlearn.training.engines import collectives
from everlearn.training.engines.torchrun import train_together
from everlearn.training.engines.vllm import Replicas
from everlearn.training.ladder_growth import extend, measure_rungs, plant
from everlearn.training.loop import advance, begin, has_fast_bf16
from everlearn.training.memory_plan import keep_freed_memory
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import judging, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from everlearn.ladder.tree import CurvePoint, Ladder
    from everlearn.problem import Problem
    from everlearn.settings import LadderSettings, LearnSettings, RolloutSettings


LOG = logging.getLogger("everlearn.learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training left: the adapter's directory, the ladder with rates after it, the curve, the rewarded answers.

    `rewarded` is a JSONL file of `{"statement", "answer"}`; `cpu_seconds` is what training took, of this process and
    its children.
    """

    adapter: Path
    ladder: Ladder
    curve: tuple[CurvePoint, ...]
    rewarded: Path
    cpu_seconds: float


def grow(
    base: Path,
    adapter: Path | None,
    roots: Sequence[Problem],
    *,
    forbidden: frozenset[str],
    settings: LadderSettings,
    seed: int,
    threads: int,
    verifiers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Ladder:
    """Let the policy make its ladder below `roots`, and measure its own pass rate on each rung.

    `forbidden` are the equivalence keys of every suite item. `progress` is told (done, of) in rungs proposed and measured.

    Raises:
        ModelError: the base or the adapter cannot be used.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    domain = load_domain(roots[0].domain)
    policy = load_policy(base, adapter)
    model = policy.merged(bf16=has_fast_bf16())
    ladder = plant([root.statement for root in roots], domain=domain, forbidden=forbidden)
    extend(ladder, policy, model, domain=domain, forbidden=forbidden, settings=settings, seed=seed)
    digests, part = list(ladder.rungs), 64
    with judging(domain.name, verifiers=verifiers) as judges:
        for start in range(0, len(digests), part):
            measure_rungs(
                ladder, digests[start : start + part], policy, model, domain=domain, rollouts=settings.rollouts,
                temperature=settings.answer_temperature, seed=seed_of(seed, "before"), judge=judges.judge,
            )  # fmt: skip
            if progress is not None:
                progress(min(start + part, len(digests)), len(digests))
    return ladder


def train(
    base: Path,
    adapter: Path | None,
    ladder: Ladder,
    *,
    domain_name: str = "integration",
    replay: Sequence[Problem] = (),
    forbidden: frozenset[str] = frozenset(),
    settings: LearnSettings,
    ladder_settings: LadderSettings,
    seed: int,
    threads: int,
    workdir: Path,
    verifiers: int = 0,
    rollouts: RolloutSettings | None = None,
    progress: Callable[[CurvePoint, int], None] | None = None,
    checkpointed: Callable[[Path], None] | None = None,
) -> Trained:
    """Train a copy of the parent's adapter (a fresh one without a parent) on the ladder, going on from a checkpoint.

    With `settings.processes` above 1, as many processes of this machine do it together. Answers are judged by `verifiers`
    processes (0: here), and sampled by the replicas of `rollouts`, if it has any.

    `progress` is told each step's point and the number of steps; `checkpointed` the directory of each new checkpoint.
    Interrupted anywhere and called again with the same `workdir`, the result is the same, bit for bit on one machine.
    """
    if settings.processes > 1 and collectives.count() == 1:
        return train_together(
            base, adapter, ladder, domain_name=domain_name, replay=replay, forbidden=forbidden, settings=settings,
            ladder_settings=ladder_settings, seed=seed, threads=threads, verifiers=verifiers, workdir=workdir,
            progress=progress, checkpointed=checkpointed,
        )  # fmt: skip
    keep_freed_memory()
    torch.set_num_threads(threads)
    domain = load_domain(domain_name)
    policy = load_policy(base, adapter, rank=settings.rank, alpha=settings.alpha, seed=seed)
    run = begin(
        policy, ladder.copy(), domain=domain, settings=settings, seed=seed,
        replay=[problem.statement for problem in replay if domain.equivalence(problem.statement) not in forbidden],
    )  # fmt: skip
    LOG.info(
        "decode: static KV cache, prompts once a group; update: prompts shared, LoRA gradients alone; %s, %d threads, "
        "process %d of %d", "bfloat16" if run.bf16 else "float32", threads, collectives.rank() + 1, collectives.count(),
    )  # fmt: skip
    restore_checkpoint(run, workdir)
    collectives.wait_for_all()  # nobody writes a new one before everybody has read this one
    if rollouts is not None and rollouts.replicas and rollouts.adapters is not None:
        run.replicas = Replicas(rollouts.replicas, end=policy.end, folder=rollouts.adapters, dtype=rollouts.dtype)
    with judging(domain_name, verifiers=verifiers, recorded=run.recorded) as judges:
        run.judge, run.recorded = judges.judge, judges.recorded
        while run.step < settings.steps and run.stopped is None:
            if settings.regrow and run.step and run.step % settings.regrow == 0:
                extend(run.ladder, policy, policy.merged(bf16=run.bf16), domain=domain, forbidden=forbidden,
                       settings=ladder_settings, seed=seed_of(seed, "regrow", run.step))  # fmt: skip
                run.refill()
            point = advance(run, done=run.step / settings.steps, last=run.step + 1 == settings.steps)
            if progress is not None:
                progress(point, settings.steps)
            due = run.step % settings.checkpoint_every == 0 or run.step == settings.steps or run.stopped
            if due and collectives.rank() == 0:
                path = save_checkpoint(run, workdir)
                if checkpointed is not None:
                    checkpointed(path)
        if run.stopped is not None:
            LOG.warning("training stopped after step %d: %s; what was well before is left", run.step, run.stopped)
        started = cpu_seconds()
        measure_rungs(
            run.ladder, [rung.digest for rung in run.ladder.rungs.values() if rung.rollouts], policy,
            policy.merged(bf16=run.bf16), domain=domain, rollouts=ladder_settings.rollouts,
            temperature=ladder_settings.answer_temperature, seed=seed_of(seed, "after"), after=True, judge=run.judge,
        )  # fmt: skip
    rewarded, result = workdir / "rewarded.jsonl", workdir / "adapter"
    if collectives.rank() == 0:
        rewarded.write_text("".join(json.dumps(row) + "\n" for row in run.rewarded))
        policy.save(result)
    return Trained(
        adapter=result, ladder=run.ladder, curve=tuple(run.curve), rewarded=rewarded,
        cpu_seconds=run.spent + cpu_seconds() - started,
    )  # fmt: skip
