"""Train an adapter: the loop over steps, its checkpoints, and the pass rates after it."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

import torch

from everlearn.domains.contamination import without_contamination
from everlearn.domains.contract import load_domain
from everlearn.training.checkpoint import open_journal, restore_checkpoint, save_checkpoint
from everlearn.training.engines import collectives
from everlearn.training.engines.samplers import sampling
from everlearn.training.engines.torchrun import run_processes
from everlearn.training.gpu import device_time
from everlearn.training.job import Trained
from everlearn.training.journal import Journal
from everlearn.training.judged_variants import without_judged_variants
from everlearn.training.ladder_growth import extend, measure_rungs
from everlearn.training.memory_plan import keep_freed_memory, update_memory
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.preflight import check_identity, check_policy, check_saved
from everlearn.training.rollouts import judging, seed_of
from everlearn.training.train_step import current_model, solver_of, train_step
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.ladder.tree import CurvePoint
    from everlearn.settings import LadderSettings
    from everlearn.training.job import TrainingJob
    from everlearn.training.training_run import TrainingRun

    OnStep = Callable[[CurvePoint, int], None]
    OnCheckpoint = Callable[[Path], None]


LOG = logging.getLogger("everlearn.learn")


def train(
    job: TrainingJob,
    *,
    on_step: OnStep | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a copy of the parent's adapter on the job's ladder, from the newest checkpoint in `job.workdir`.

    With `settings.processes` above 1, that number of processes on this machine share the work (torchrun). Interrupted
    at any point and called again with the same job, the result is the same, bit for bit on one machine.

    Args:
        job: the input.
        on_step: called after each step with its curve point and the number of steps.
        on_checkpoint: called with the directory of each new checkpoint.
        clock: seconds, for `checkpoint_minutes`.

    Raises:
        ModelError: the base or the adapter cannot be used, or a check finds a silent fault (`preflight`).
        ServiceError: all vLLM servers failed.
        EverlearnError: a process of several failed.
    """
    if job.settings.processes > 1 and collectives.count() == 1:
        return run_processes(job, on_step=on_step, on_checkpoint=on_checkpoint)
    keep_freed_memory()
    torch.set_num_threads(job.threads)
    run = _prepare(job)
    with (
        device_time(run.policy.base_model.device),
        judging(job.domain, verifiers=job.verifiers, recorded=run.recorded) as judges,
        sampling(job.rollouts, base=job.base, policy=run.policy, threads=job.threads) as run.replicas,
    ):
        run.judge, run.recorded, written = judges.judge, judges.recorded, clock()
        while run.step < job.settings.steps and run.stopped is None:
            if is_due_to_grow(run):
                journal = open_journal(job.workdir, on_checkpoint)
                regrow(run, forbidden=job.forbidden, settings=job.ladder_settings, journal=journal)
            point = train_step(run, budget_used=run.step / job.settings.steps, last=run.step + 1 == job.settings.steps)
            if on_step is not None:
                on_step(point, job.settings.steps)
            if _is_due(run, seconds=clock() - written):
                _checkpoint(run, job, on_checkpoint)
                written = clock()
        if run.stopped is not None:
            LOG.warning("training stopped after step %d, back to the newest good weights: %s", run.step, run.stopped)
        _measure_after(run, job, on_checkpoint)
    return _save_result(run, job.workdir)


def _prepare(job: TrainingJob) -> TrainingRun:
    """Return a run at step 0 or at the newest checkpoint."""
    domain = load_domain(job.domain)
    given = job.settings
    check_identity(job.base, job.base_identity)
    new = {"rank": given.rank, "alpha": given.alpha, "grow": given.grow_rank}
    policy = load_policy(job.base, job.adapter, seed=job.seed, compute=job.compute, **new)
    run = start_run(
        policy,
        job.ladder.copy(),
        domain=domain,
        settings=job.settings,
        seed=job.seed,
        replay=without_contamination(job.replay, domain=domain, forbidden=job.forbidden),
        repaired=job.repaired,
        references=job.references,
        form=choose_format(policy, domain, job.form),
    )
    run.anchors = job.anchors
    LOG.info(
        "decoding in %s, %d threads, process %d of %d, updates within %.1f GiB",
        str(run.start.head.dtype).removeprefix("torch."),
        job.threads,
        collectives.rank() + 1,
        collectives.count(),
        update_memory(run.start, job.settings),
    )
    check_policy(solver_of(run, run.start), list(map(run.problem, run.ladder.rungs)))
    restore_checkpoint(run, job.workdir)
    collectives.wait_for_all()  # the first process must not replace the checkpoint while another one still reads it
    return run


def is_due_to_grow(run: TrainingRun) -> bool:
    """Return whether the ladder grows again before the next step, as it does every `learn.regrow` steps."""
    return bool(run.settings.regrow and run.step) and run.step % run.settings.regrow == 0


def regrow(
    run: TrainingRun, *, forbidden: frozenset[str], settings: LadderSettings, journal: Journal | None = None
) -> None:
    """Extend the run's ladder with its current policy."""
    solver = solver_of(run, current_model(run))
    seed = seed_of(run.seed, "regrow", run.step)
    journal, barren = journal or Journal(), frozenset[str]()
    if run.settings.pseudo_labels is None:
        barren = without_judged_variants(run.ladder, solver=solver, references=run.references, journal=journal)
    extend(run.ladder, solver, forbidden=forbidden, settings=settings, seed=seed, barren=barren, journal=journal)
    run.update_classes()


def _is_due(run: TrainingRun, *, seconds: float) -> bool:
    """Return whether to write a checkpoint, `seconds` after the last one: the settings say when, and at the end always."""
    if run.step == run.settings.steps or run.stopped is not None:
        return True
    return run.step % run.settings.checkpoint_every == 0 and seconds >= 60 * run.settings.checkpoint_minutes


def _checkpoint(run: TrainingRun, job: TrainingJob, on_checkpoint: OnCheckpoint | None) -> None:
    if collectives.rank() == 0:
        path = save_checkpoint(run, job.workdir)
        if on_checkpoint is not None:
            on_checkpoint(path)


def _measure_after(run: TrainingRun, job: TrainingJob, on_checkpoint: OnCheckpoint | None) -> None:
    """Measure again the pass rate of every rung that was measured before the training."""
    measure_rungs(
        solver_of(run, current_model(run)),
        run.ladder,
        [rung.digest for rung in run.ladder.rungs.values() if rung.rollouts],
        rollouts=job.ladder_settings.rollouts,
        temperature=job.ladder_settings.answer_temperature,
        seed=seed_of(job.seed, "after"),
        references=job.references,
        after=True,
        journal=open_journal(job.workdir, on_checkpoint),
    )


def _save_result(run: TrainingRun, workdir: Path) -> Trained:
    rewarded, adapter = workdir / "rewarded.jsonl", workdir / "adapter"
    if collectives.rank() == 0:
        rewarded.write_text("".join(json.dumps(row) + "\n" for row in run.rewarded))
        check_saved(run.policy, run.policy.save(adapter))
    return Trained(
        adapter=adapter,
        ladder=run.ladder,
        curve=tuple(run.curve),
        rewarded=rewarded,
        policy=run.policy.chosen,
    )
