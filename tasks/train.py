"""Grow the ladder and train the adapter. Each result is kept in the workspace and made once."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.cycle.workspace import Workspace
from everlearn.data.suites import of_domain
from everlearn.domains.contract import load_domain
from everlearn.gate.decision_record import Decision
from everlearn.gate.guard import drifted_rows
from everlearn.gate.record_of_line import guarded_suites
from everlearn.ladder.replay import Reservoir
from everlearn.ladder.tree import parse_ladder, references_of
from tasks.earlier_nights import record_trained
from tasks.freeze_suites import forbidden_keys, load_suites, roots_of
from tasks.night import LOG, as_json, step_task, timed_step
from tasks.open_base import base_folder
from tasks.open_night import watch_parent
from tasks.progress import progress
from tasks.starting_point import first_adapter, parent_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everlearn.data.suites import Suite
    from everlearn.ladder.tree import CurvePoint, Ladder
    from everlearn.problem import Problem
    from everlearn.training.job import Anchor, FineTuned, Trained
    from tasks.night import Night
    from tasks.progress import ReportProgress


ANCHORS = "anchors"
GROWTH = "growth"
"""Segments of the journal of a ladder that is being grown."""


@step_task
def learn_reference_answers(night: Night) -> None:
    """Fine-tune the parent's adapter on the reference answers of the new problems, where the settings ask for it.

    Raises:
        StaleParentError: as `grow_ladder` does.
        SettingsError: the model is addressed in a format without answers in words.
    """
    if not night.settings.supervised.epochs:
        return
    with timed_step(night, "supervised") as work:
        if work.has("schooling"):
            return
        watch_parent(night)()
        with tempfile.TemporaryDirectory() as folder, progress("learning reference answers") as report:
            tuned = _learn_answers(night, Path(folder), report)
            if tuned.adapter is not None:
                work.put_tree("schooled", tuned.adapter)
            facts = {"used": tuned.used, "refused": tuned.refused, "losses": tuned.losses}
            work.put("schooling", json.dumps(facts).encode())


@step_task
def grow_ladder(night: Night) -> int:
    """Generate variants with the parent policy and measure its pass rate on them. Return the number of rungs.

    A resumed run repeats only what the last seconds before the interruption have decoded.

    Raises:
        StaleParentError: the parent was barred meanwhile. The night is abandoned, its data stays available.
    """
    with timed_step(night, "ladder") as work:
        if not work.has("ladder"):
            with tempfile.TemporaryDirectory() as folder, progress("growing and measuring the ladder") as report:
                ladder = _grow(night, Path(folder), report)
            work.put("ladder", ladder.to_bytes())
            work.drop(GROWTH)
            LOG.info("ladder: %d rungs, %s", len(ladder.rungs), dict(ladder.counts))
        return len(ladder_of(work, "ladder").rungs)


@step_task
def answer_anchors(night: Night) -> None:
    """Let the parent answer problems that earlier nights mastered, where `learn.anchor_kl` keeps the training near its answers.

    Raises:
        StaleParentError: as `grow_ladder` does.
    """
    if not night.settings.learn.anchor_kl or night.inputs.parent is None:
        return
    with timed_step(night, "anchors") as work:
        if not work.has(ANCHORS):
            watch_parent(night)()
            with tempfile.TemporaryDirectory() as folder:
                work.put(ANCHORS, as_json([asdict(anchor) for anchor in _answers_of_parent(night, Path(folder))]))


@step_task
def train_adapter(night: Night) -> None:
    """Train with GRPO from the parent's adapter, resuming from the newest checkpoint in the workspace.

    Raises:
        StaleParentError: as `grow_ladder` does.
    """
    with timed_step(night, "train") as work:
        if work.has("trained"):
            return
        with tempfile.TemporaryDirectory() as folder, progress("training") as report:
            trained = _train(night, Path(folder), report)
            result = Path(folder) / "trained"
            trained.adapter.rename(result)
            _keep_used_problems(night, trained.ladder)
            work.put("rewarded", trained.rewarded.read_bytes())
            work.put("policy", trained.policy.encode())
            work.put("ladder after", trained.ladder.to_bytes())
            work.put("curve", json.dumps([asdict(point) for point in trained.curve]).encode())
            work.put_tree("trained", result)  # last: a resumed run trains again unless all of the above is there
        work.drop("checkpoint")


def segment_writer(night: Night, name: str) -> Callable[[bytes], None]:
    """Return a function that keeps a segment of a journal. Check the parent now and after each segment (`watch_parent`)."""
    work, require_parent = night.work, watch_parent(night)
    require_parent()

    def keep(segment: bytes) -> None:
        work.append(name, segment)
        require_parent()

    return keep


def ladder_of(work: Workspace, name: str) -> Ladder:
    """Return a ladder that is kept in a workspace."""
    return parse_ladder(work.get(name))


def starting_adapter(night: Night, to: Path) -> Path | None:
    """Fetch the adapter that ladder and training begin with: `first_adapter`, fine-tuned where the night did that first."""
    if not night.work.has("schooled"):
        return first_adapter(night, to)
    night.work.get_tree("schooled", to)
    return to


def reservoir_before(night: Night) -> Reservoir:
    """Return the reservoir of the newest published night, with the ladders of nights since that kept none.

    A night whose version was barred counts as none: its data is flagged, and the parent has not mastered it.
    """
    ladders: list[tuple[str, Ladder]] = []
    reservoir = Reservoir()
    for entry in reversed([each for each in night.registry.state().versions.values() if not each.barred]):
        work = Workspace(night.store, night.line, entry.cycle_key)
        if work.has("replay"):
            reservoir = Reservoir.from_bytes(work.get("replay"))
            break
        if work.has("ladder after"):  # of release 0.1.0; garbage collection removes the work of retired versions
            ladders.append((entry.cycle_key, ladder_of(work, "ladder after")))
    domain = load_domain(night.settings.domain)
    for key, ladder in reversed(ladders):
        reservoir = reservoir.updated(ladder, night=key, domain=domain)
    return reservoir


def _keep_used_problems(night: Night, ladder: Ladder) -> None:
    """Record what was trained on, and keep the reservoir for the nights after this one."""
    before, domain = reservoir_before(night), load_domain(night.settings.domain)
    replayed = (problem.statement for problem in before.problems)
    record_trained(night, [*(rung.statement for rung in ladder.rungs.values()), *replayed])
    references = references_of(roots_of(night)[0], domain=domain)
    after = before.updated(ladder, night=night.key, domain=domain, references=references)
    night.work.put("replay", after.to_bytes())


def _learn_answers(night: Night, folder: Path, report: ReportProgress) -> FineTuned:
    from everlearn.training.job import SupervisedJob
    from everlearn.training.supervised import learn_answers  # imports torch

    settings = night.settings
    job = SupervisedJob(
        base=base_folder(settings),
        adapter=first_adapter(night, folder / "parent"),
        problems=roots_of(night)[0],
        settings=settings.supervised,
        learn=settings.learn,
        threads=settings.threads,
        out=folder / "schooled",
        compute=settings.compute,
        form=settings.format,
        base_identity=night.inputs.base_fingerprint,
    )
    return learn_answers(job, on_step=report)


def _answers_of_parent(night: Night, folder: Path) -> tuple[Anchor, ...]:
    from everlearn.training import anchors  # imports torch
    from everlearn.training.job import AnchorJob

    settings, problems = night.settings, _replayed(night)
    if not problems:
        return ()
    job = AnchorJob(
        base=base_folder(settings),
        adapter=parent_adapter(night, folder / "parent"),
        problems=problems,
        settings=settings.learn,
        threads=settings.threads,
        rollouts=settings.rollout_backend,
        compute=settings.compute,
        form=settings.format,
        base_identity=night.inputs.base_fingerprint,
    )
    return anchors.answer_anchors(job)


def _replayed(night: Night) -> tuple[Problem, ...]:
    """Return the problems that earlier nights mastered, without those that equal a suite item."""
    domain = load_domain(night.settings.domain)
    return tuple(reservoir_before(night).allowed(domain=domain, forbidden=forbidden_keys(night)))


def _repaired(night: Night, replayed: Sequence[Problem]) -> frozenset[str]:
    """Return the skills of suites on which the parent has drifted below the record: half of the replay's draws are for them."""
    domain, drifted = load_domain(night.settings.domain), _drifted(night)
    skills = {domain.skill(item.statement) for suite in of_domain(drifted, domain.name) for item in suite.problems}
    if drifted:
        LOG.info(
            "%s drifted: %d of %d replayed problems are of its skills, and get half of their draws",
            ", ".join(suite.name for suite in drifted),
            sum(domain.skill(problem.statement) in skills for problem in replayed),
            len(replayed),
        )
    return frozenset(skills)


def _drifted(night: Night) -> list[Suite]:
    """Return tonight's suites on which the parent was published well below the record."""
    parent = night.inputs.parent
    decision = night.registry.manifest(parent).decision if parent else {}
    rows = drifted_rows(Decision.from_dict(decision).rows) if "rows" in decision else []
    names = {row.suite for row in rows}
    return [suite for suite in guarded_suites(load_suites(night)) if suite.name in names]


def _grow(night: Night, folder: Path, report: ReportProgress) -> Ladder:
    from everlearn.training.job import GrowthJob
    from everlearn.training.journal import Journal
    from everlearn.training.ladder_growth import grow  # imports torch

    settings, work = night.settings, night.work
    roots, _ = roots_of(night)
    job = GrowthJob(
        base=base_folder(settings),
        adapter=starting_adapter(night, folder / "start"),
        roots=roots,
        forbidden=forbidden_keys(night),
        settings=settings.ladder,
        seed=settings.learn.seed,
        threads=settings.threads,
        verifiers=settings.verifiers,
        pseudo_labels=settings.learn.pseudo_labels is not None,
        bf16=settings.learn.bf16,
        compute=settings.compute,
        form=settings.format,
        rollouts=settings.rollout_backend,
    )
    journal = Journal(kept=work.parts(GROWTH), keep=segment_writer(night, GROWTH))
    return grow(job, progress=report, journal=journal)


def _train(night: Night, folder: Path, report: ReportProgress) -> Trained:
    from everlearn.training.job import Anchor, TrainingJob
    from everlearn.training.trainer import train  # imports torch

    settings, work, place, require_parent = night.settings, night.work, folder / "work", watch_parent(night)
    require_parent()
    place.mkdir()
    forbidden, domain = forbidden_keys(night), load_domain(settings.domain)
    if work.has("checkpoint"):
        work.get_tree("checkpoint", place / "checkpoint")

    def show(point: CurvePoint, steps: int) -> None:
        report(point.step, steps, f"{point.reward:.0%} of rollouts right, {point.cpu_seconds:.0f} CPU s")

    def keep(checkpoint: Path) -> None:
        work.put_tree("checkpoint", checkpoint)
        require_parent()

    replayed = _replayed(night)
    job = TrainingJob(
        base=base_folder(settings),
        adapter=starting_adapter(night, folder / "start"),
        ladder=ladder_of(work, "ladder"),
        references=references_of(roots_of(night)[0], domain=domain),
        domain=settings.domain,
        replay=replayed,
        repaired=_repaired(night, replayed),
        forbidden=forbidden,
        settings=settings.learn,
        ladder_settings=settings.ladder,
        seed=settings.learn.seed,
        threads=settings.threads,
        verifiers=settings.verifiers,
        rollouts=settings.rollout_backend,
        compute=settings.compute,
        form=settings.format,
        base_identity=night.inputs.base_fingerprint,
        anchors=tuple(Anchor(**row) for row in json.loads(work.get(ANCHORS))) if work.has(ANCHORS) else (),
        workdir=place,
    )
    return train(job, on_step=show, on_checkpoint=keep)
