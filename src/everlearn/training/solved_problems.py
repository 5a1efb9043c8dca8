"""Results of `everlearn solve` and of the flow `solve`: what a result depends on, its row, and what is offered to the next night."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of
from everlearn.data.bucket_inbox import add_shard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store
    from everlearn.training.test_time import Budget, Solution


def keys_of(
    problems: Sequence[Problem], settings: Settings, budget: Budget, *, base: Path, adapter: Path | None
) -> dict[str, str]:
    """Return a key for each statement, of the problem, the model, the budget and the settings: equal keys, equal results."""
    from everlearn.training.models.fingerprint import fingerprint

    what = {
        "base": fingerprint(base),
        "adapter": adapter and digest_of((adapter / "adapter_model.safetensors").read_bytes()),
        "budget": asdict(budget),
        **{name: getattr(settings, name).model_dump(mode="json") for name in ("learn", "ladder", "format", "compute")},
    }
    statements = [problem.statement for problem in problems]
    return {text: digest_of(canonical({"statement": text, **what}))[:16] for text in statements}


def row_of(solution: Solution, *, domain: str, version: str, key: str) -> dict[str, Any]:
    """Return a result as JSON values."""
    row = {"domain": domain, "problem": solution.statement, "version": version}
    row |= {field: value for field, value in solution.to_content().items() if field != "statement"}
    return row | {"key": key}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many were solved, by what, and what it cost."""
    by = Counter(row["by"] for row in rows if row["answer"] is not None)
    return {
        "problems": len(rows),
        "solved": sum(by.values()),
        **{f"by {name}": count for name, count in sorted(by.items())},
        "rollouts": sum(row["rollouts"] for row in rows),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 1),
        "contradicted": sum(row["contradicted"] for row in rows),
    }


def offer(store: Store, line: str, rows: Sequence[dict[str, Any]]) -> int:
    """Write what was not solved at once as one shard of the line's inbox, the same rows once. Return how many there are."""
    from everlearn.training.test_time import By  # imports torch

    solved = [
        {"problem": row["problem"], "domain": row["domain"], "reference": row["answer"]}
        for row in rows
        if row["answer"] is not None and row["by"] != By.GREEDY
    ]
    if solved:
        add_shard(store, line, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in solved).encode())
    return len(solved)
