"""Measure one version on one suite."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_table_artifact

from everlearn.data import suites
from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.problem import Ruling
from everlearn.registry.connect import open_registry
from everlearn.training.asking import asking_of
from everlearn.training.models.base_source import pin_base
from tasks.night import step_task
from tasks.open_base import base_folder
from tasks.progress import progress

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def evaluate_version(settings: Settings, version: str, suite: Path) -> dict[str, float]:
    """Measure a version on a suite. Return `n`, a count for each ruling, and the `share` that is correct.

    A relative `suite` starts from the root directory of the settings.
    """
    from everlearn.training.evaluation import measure  # imports torch

    registry = open_registry(settings)
    problems = suites.load(settings.resolve(suite), domain=settings.domain).problems
    with tempfile.TemporaryDirectory() as folder, progress(f"{version} on {suite.stem}") as report_progress:
        adapter = None if version == "base" else registry.pull(version, to=Path(folder) / "adapter")
        rows = measure(
            base_folder(pin_base(settings, registry)),
            adapter,
            problems,
            seed=settings.learn.seed,
            progress=report_progress,
            **asking_of(settings),
        )
    counts = Counter(row.verdict.ruling for row in rows)
    by_ruling = {str(ruling).lower(): float(counts[ruling]) for ruling in Ruling}
    return {"n": float(len(rows)), **by_ruling, "share": counts[Ruling.CORRECT] / len(rows)}


@step_task
def show_evaluation(settings: Settings, version: str, suite: str, result: dict[str, float]) -> None:
    """Show the result as a table in the dashboard."""
    create_table_artifact(
        key=artifact_key("evaluation", line=settings.store.line),
        table=[{"version": version, "suite": suite, **result}],
        description="Greedy answers",
    )
