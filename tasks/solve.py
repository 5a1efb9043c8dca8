"""Solve problems one by one with a version, which stays as it is. Each result is stored in the bucket at once."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_table_artifact

from everlearn.errors import NotFoundError
from everlearn.orchestration.artifact_keys import artifact_key
from everlearn.registry.connect import open_registry
from everlearn.training.models.base_source import pin_base
from everlearn.training.problem_file import distinct, problems_in
from everlearn.training.solved_problems import ARMS, comparison_of, keys_of, offer, progress_of, summary
from tasks.night import LOG, step_task
from tasks.open_base import base_folder
from tasks.progress import progress

if TYPE_CHECKING:
    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store


@step_task
def read_unsolved(settings: Settings, problems: Path) -> list[Problem]:
    """Return the problems of a file, each once. A relative path starts from the root directory of the settings."""
    return distinct(problems_in(settings.resolve(problems), settings=settings))


@step_task
def solve_problems(
    settings: Settings, asked: list[Problem], version: str, *, compares: bool, processes: int, **budget: Any
) -> list[dict[str, Any]]:
    """Solve the problems, and return a row for each. Rows that the bucket has for equal inputs are used again.

    `budget` holds fields of `Budget`. With `compares`, each result is compared with others at equal rollouts, after all
    are stored. The `processes` share the verifiers of the settings.
    """
    from everlearn.training.solve_pool import rows_of  # imports torch
    from everlearn.training.test_time import Budget

    registry = open_registry(settings)
    pinned = pin_base(settings, registry)
    base, store = base_folder(pinned), registry.store
    name = version if version == "base" else registry.resolve(version).version
    identity = None if name == "base" else registry.manifest(name).base_fingerprint
    limit = Budget(**budget)
    with tempfile.TemporaryDirectory() as folder, progress(f"solving with {name}") as report:
        adapter = None if name == "base" else registry.pull(name, to=Path(folder) / "adapter")
        keys = keys_of(asked, pinned, limit, base=base, adapter=adapter)
        given: dict[str, Any] = {
            "base": base,
            "adapter": adapter,
            "settings": pinned,
            "budget": limit,
            "identity": identity,
            "verifiers": math.ceil(settings.verifiers / processes),
        }
        kept = {text: [_kept(store, _path(settings, key)) for key in known] for text, known in keys.items()}
        found = {text: row for text, rows in kept.items() for row in rows if row is not None}
        own = {text: key for text, (_, key) in keys.items()}
        new = rows_of(asked, found, keys=own, version=name, compares=compares, processes=processes, **given)
        for problem, row in new:
            store.put(_path(settings, row["key"]), json.dumps(row, ensure_ascii=False).encode())
            found[problem.key] = row
            report(*progress_of(found.values(), problems=len(asked), compares=compares))
    return [found[problem.key] for problem in asked]


@step_task
def offer_solved(settings: Settings, asked: list[Problem], found: list[dict[str, Any]]) -> int:
    """Put the solved problems, except by a greedy answer, into the inbox of the next night. Return their number."""
    offered = offer(open_registry(settings).store, settings.store.line, asked, found)
    LOG.info("solve: %d solved problems are offered to the next night", offered)
    return offered


@step_task
def show_solutions(settings: Settings, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Show the results as a table in the dashboard, and return their summary."""
    columns = ("problem", "answer", "by", "rollouts", "tokens", "cpu_seconds", "version")
    create_table_artifact(
        key=artifact_key("solved", line=settings.store.line),
        table=[
            {name: row[name] for name in columns}
            | {ARMS[arm]: each["answer"] for arm, each in (comparison_of(row) or {}).items()}
            for row in found
        ],
        description="Problems solved one by one: a verified answer, or none",
    )
    return summary(found)


def _path(settings: Settings, key: str) -> str:
    return f"{settings.store.line}/solved/{key}.json"


def _kept(store: Store, key: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(store.get(key).data)
    except NotFoundError:
        return None
    return row
