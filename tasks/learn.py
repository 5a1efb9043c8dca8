"""Freeze the suites, grow the ladder, train the adapter: each kept in the night's work, each done once."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.cycle.record import Workspace
from everlearn.data import suites
from everlearn.data.snapshot import split, unrelated
from everlearn.domains.contract import load_domain
from everlearn.errors import NotFoundError
from everlearn.ladder.tree import load_ladder
from tasks.ingest import load_snapshot
from tasks.night import LOG, clocked, step_task
from tasks.progress import progress

if TYPE_CHECKING:
    from everlearn.data.suites import Suite
    from everlearn.ladder.tree import CurvePoint, Ladder
    from everlearn.problem import Problem
    from tasks.night import Night

SUITES = Path("data/suites")
REPLAYED = 400
"""Most problems of earlier nights that one night replays."""


@step_task
def freeze_suites(night: Night) -> bool:
    """The night's suites: the held-out share topped up as its target, and those that ship. Before any ladder.

    False where that leaves nothing to learn from: every new problem is held out, or kin to a suite item.
    """
    with clocked(night, "suites") as work:
        if not work.has("suites"):
            domain = load_domain(night.settings.domain)
            kept = [suites.load(path) for path in sorted(SUITES.glob("*.jsonl"))]
            entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
            roots, held_out = split(entries, share=night.settings.ingest.holdout_share)
            asked = suites.equivalence_keys([problem for suite in kept for problem in suite.problems], domain=domain)
            roots = unrelated(roots, domain=domain, forbidden=asked)
            trained = suites.equivalence_keys(roots, domain=domain)
            if not roots:
                return False
            target = suites.freeze_target(
                held_out, domain=domain, size=night.settings.ingest.min_target_items, forbidden=asked | trained,
                seed=night.settings.learn.seed, like=roots,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                for suite in (target, *kept):
                    suite.save(Path(folder) / f"{suite.name}.jsonl")
                work.put_tree("suites", Path(folder))
            LOG.info("target suite: %d problems, %d of them held out", len(target.problems), len(held_out))
    return True


@step_task
def grow_ladder(night: Night) -> int:
    """Let the parent policy make its ladder and measure itself on it; how many rungs."""
    from everlearn.training.job import grow  # imports torch

    with clocked(night, "ladder") as work:
        if not work.has("ladder"):
            with tempfile.TemporaryDirectory() as folder, progress("growing and measuring the ladder") as tell:
                roots, _ = roots_of(night)
                ladder = grow(
                    night.settings.base.path, parent_adapter(night, Path(folder) / "parent"), roots,
                    forbidden=_forbidden(night), settings=night.settings.ladder, seed=night.settings.learn.seed,
                    threads=night.settings.threads, verifiers=night.settings.verifiers, progress=tell,
                )  # fmt: skip
                ladder.save(Path(folder) / "ladder.jsonl")
                work.put("ladder", (Path(folder) / "ladder.jsonl").read_bytes())
            LOG.info("ladder: %d rungs, %s", len(ladder.rungs), dict(ladder.counts))
        return len(ladder_of(work, "ladder").rungs)


@step_task
def train_adapter(night: Night) -> None:
    """GRPO from the parent's adapter, going on from the newest checkpoint in the night's work."""
    from everlearn.training.job import train  # imports torch

    with clocked(night, "train") as work:
        if work.has("trained"):
            return
        with tempfile.TemporaryDirectory() as folder, progress("training") as tell:
            place = Path(folder) / "work"
            place.mkdir()
            if work.has("checkpoint"):
                work.get_tree("checkpoint", place / "checkpoint")

            def show(point: CurvePoint, steps: int) -> None:
                tell(point.step, steps, f"{point.reward:.0%} of rollouts right, {point.cpu_seconds:.0f} CPU s")

            trained = train(
                night.settings.base.path, parent_adapter(night, Path(folder) / "parent"), ladder_of(work, "ladder"),
                domain_name=night.settings.domain, replay=replay_of(night), forbidden=_forbidden(night),
                settings=night.settings.learn, ladder_settings=night.settings.ladder, seed=night.settings.learn.seed,
                threads=night.settings.threads, verifiers=night.settings.verifiers, rollouts=night.settings.rollouts,
                workdir=place, progress=show,
                checkpointed=lambda path: work.put_tree("checkpoint", path),
            )  # fmt: skip
            result = Path(folder) / "trained"
            trained.adapter.rename(result)
            trained.rewarded.rename(Path(folder) / "rewarded.jsonl")
            trained.ladder.save(Path(folder) / "ladder.jsonl")
            work.put("rewarded", (Path(folder) / "rewarded.jsonl").read_bytes())
            work.put("ladder after", (Path(folder) / "ladder.jsonl").read_bytes())
            work.put("curve", json.dumps([asdict(point) for point in trained.curve]).encode())
            work.put_tree("trained", result)
        work.drop("checkpoint")


def roots_of(night: Night) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """The problems to climb towards (no kin of a suite item among them), and those held out."""
    entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
    roots, held_out = split(entries, share=night.settings.ingest.holdout_share)
    domain = load_domain(night.settings.domain)
    return unrelated(roots, domain=domain, forbidden=_forbidden(night)), held_out


def load_suites(night: Night) -> tuple[Suite, ...]:
    """The night's frozen suites."""
    with tempfile.TemporaryDirectory() as folder:
        night.work.get_tree("suites", Path(folder))
        return tuple(suites.load(path) for path in sorted(Path(folder).glob("*.jsonl")))


def _forbidden(night: Night) -> frozenset[str]:
    domain = load_domain(night.settings.domain)
    asked = [problem for suite in load_suites(night) for problem in suite.problems]
    return suites.equivalence_keys(asked, domain=domain)


def ladder_of(work: Workspace, name: str) -> Ladder:
    """A ladder of the night's work."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ladder.jsonl"
        path.write_bytes(work.get(name))
        return load_ladder(path)


def parent_adapter(night: Night, to: Path) -> Path | None:
    """The parent's adapter, verified; None on the base alone."""
    return night.registry.pull(night.inputs.parent, to=to) if night.inputs.parent else None


def replay_of(night: Night) -> list[Problem]:
    """Problems that earlier published nights mastered, the newest nights first."""
    domain, found = load_domain(night.settings.domain), []
    for entry in reversed(tuple(night.registry.state().versions.values())):
        try:
            ladder = ladder_of(Workspace(night.store, night.line, entry.cycle_key), "ladder after")
        except NotFoundError:
            continue
        good = [
            rung for rung in ladder.rungs.values() if rung.rollouts_after and rung.passed_after == rung.rollouts_after
        ]
        found += [domain.problem(rung.statement) for rung in good]
    return found[:REPLAYED]
