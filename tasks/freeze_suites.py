"""Freeze the suites of a night, so that candidate and parent are measured on the same problems, none of them trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.data import suites
from everlearn.data.holdout import split
from everlearn.data.snapshot_store import load_snapshot
from everlearn.data.target_suite import freeze_target
from everlearn.domains.contamination import equivalence_keys, without_contamination
from everlearn.domains.contract import load_domain
from tasks.night import LOG, step_task, timed_step

if TYPE_CHECKING:
    from everlearn.cycle.workspace import Workspace
    from everlearn.data.suites import Suite
    from everlearn.problem import Problem
    from tasks.night import Night


@step_task
def freeze_suites(night: Night) -> bool:
    """Freeze the night's suites before any ladder: held-out problems topped up as target, and the shipped suites.

    Return False where nothing is left to train on: every new problem is held out or equivalent to a suite item.
    """
    with timed_step(night, "suites") as work:
        if not work.has("suites"):
            domain, seed = load_domain(night.settings.domain), night.settings.learn.seed
            shipped = suites.load_directory(night.settings.suites_directory, domain=domain.name)
            entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
            roots, held_out = split(entries, share=night.settings.ingest.holdout_share)
            items = equivalence_keys([item.statement for suite in shipped for item in suite.problems], domain=domain)
            roots = without_contamination(roots, domain=domain, forbidden=items)
            if not roots:
                return False
            forbidden = items | equivalence_keys([root.statement for root in roots], domain=domain)
            size = night.settings.ingest.min_target_items
            target = freeze_target(held_out, domain=domain, size=size, forbidden=forbidden, seed=seed, like=roots)
            _keep_suites(work, [target, *shipped])
            LOG.info("target suite: %d problems, %d of them held out", len(target.problems), len(held_out))
    return True


def roots_of(night: Night) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return the problems to train towards (none equivalent to a suite item) and the held-out ones."""
    entries = load_snapshot(night.store, night.line, night.inputs.data_digest).entries
    roots, held_out = split(entries, share=night.settings.ingest.holdout_share)
    domain = load_domain(night.settings.domain)
    return without_contamination(roots, domain=domain, forbidden=forbidden_keys(night)), held_out


def load_suites(night: Night) -> tuple[Suite, ...]:
    """Return the night's frozen suites."""
    with tempfile.TemporaryDirectory() as folder:
        night.work.get_tree("suites", Path(folder))
        return tuple(suites.load(path) for path in sorted(Path(folder).glob("*.jsonl")))


def forbidden_keys(night: Night) -> frozenset[str]:
    """Return the equivalence keys of all suite items."""
    items = [item.statement for suite in load_suites(night) for item in suite.problems]
    return equivalence_keys(items, domain=load_domain(night.settings.domain))


def _keep_suites(work: Workspace, frozen: list[Suite]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suite in frozen:
            suite.save(Path(folder) / f"{suite.name}.jsonl")
        work.put_tree("suites", Path(folder))
