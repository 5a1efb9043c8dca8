"""Measure in-context learning beside the candidate (`context.examples`): solved problems in the parent's prompt."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.data.suites import SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.reporting.context_comparison import context_notes
from everlearn.reporting.costs import COMPARISON, adapter_cost
from everlearn.training.asking import asking_of
from everlearn.training.context_results import ContextResult, read_solved
from tasks.freeze_suites import items_of
from tasks.measure import CANDIDATE, adapter_of
from tasks.night import as_json, step_task, timed_step, times_of
from tasks.open_base import base_folder
from tasks.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.night import Night

RESULT = "in context"


@step_task
def measure_contexts(night: Night) -> None:
    """Answer the target with the parent and examples that the night has solved, and with the candidate and none."""
    counts = night.settings.context.examples
    if not counts:
        return
    with timed_step(night, COMPARISON) as work:
        if work.has(RESULT):
            return
        results = _measured(night, "parent", counts)
        if results:
            results += _measured(night, CANDIDATE, (0,))
        work.put(RESULT, as_json([each.to_content() for each in results]))


def results_in_context(night: Night) -> list[ContextResult]:
    """Return what was measured: the parent with examples, and the candidate without, last. Nothing where nothing was."""
    kept = json.loads(night.work.get(RESULT)) if night.work.has(RESULT) else []
    return [ContextResult.from_content(each) for each in kept]


def notes_about_context(night: Night) -> tuple[str, ...]:
    """Return the report's sentence about context and weights; none where nothing was to be measured."""
    if not night.work.has(RESULT):
        return ()
    results = results_in_context(night)
    if not results:
        return (
            (
                "Context or weights: not measured, since the night has no own target, solved fewer problems than context.examples "
                "asks for, or the model's window is too small for them."
            ),
        )
    prices = night.settings.prices
    return context_notes(results[:-1], results[-1], paid=adapter_cost(times_of(night.work), prices), prices=prices)


def _measured(night: Night, policy: str, counts: Sequence[int]) -> list[ContextResult]:
    from everlearn.training.in_context import measure_in_context  # imports torch

    settings, domain = night.settings, load_domain(night.settings.domain)
    solved = read_solved(night.work.get("rewarded"), domain=domain)
    with tempfile.TemporaryDirectory() as folder, progress(f"{policy} in context") as report_progress:
        return list(
            measure_in_context(
                base_folder(settings),
                adapter_of(night, policy, Path(folder) / "adapter"),
                items_of(night, SuiteKind.TARGET),
                solved,
                policy=policy,
                counts=counts,
                seed=settings.learn.seed,
                **asking_of(settings),
                progress=report_progress,
            )
        )
