"""Results of `everlearn solve` and of the flow `solve`: what a result depends on, its row, and what is offered to the next night."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of
from everlearn.data.bucket_inbox import add_shard
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.contract import load_domain
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store
    from everlearn.training.test_time import Budget, Solution

BESIDE = ("answer", "by", "rollouts", "tokens", "cpu_seconds")
"""What a row says about a comparison."""
ARMS = {"samples": "best of n", "both": "both together"}
"""Comparisons at equal rollouts, as a summary names them."""


def keys_of(
    problems: Sequence[Problem],
    settings: Settings,
    budget: Budget,
    *,
    base: Path,
    adapter: Path | None,
    compares: bool = False,
) -> dict[str, str]:
    """Return a key for each problem, by `Problem.key`: equal keys, equal results.

    It depends on the problem with its reference, the model, the budget, the settings, and the code of the domain and of Everlearn.
    """
    from everlearn.training.models.fingerprint import fingerprint

    what = {
        "base": fingerprint(base),
        "adapter": adapter and digest_of((adapter / "adapter_model.safetensors").read_bytes()),
        "budget": asdict(budget),
        "compares": compares,
        "domain": settings.domain,
        "code": [version("everlearn"), code_version(load_domain(settings.domain))],
        **{name: getattr(settings, name).model_dump(mode="json") for name in ("learn", "ladder", "format", "compute")},
    }
    return {each.key: digest_of(canonical({"problem": each.key, **what}))[:16] for each in problems}


def row_of(solution: Solution, *, domain: str, version: str, key: str) -> dict[str, Any]:
    """Return a result as JSON values."""
    row: dict[str, Any] = {"domain": domain, "problem": solution.statement, "version": version}
    row |= {field: value for field, value in solution.to_content().items() if field != "statement"}
    if solution.beside:
        row["beside"] = {arm: {name: each[name] for name in BESIDE} for arm, each in row["beside"].items()}
    return row | {"key": key}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how many were solved, by what, and what it cost; where it was compared, by how many each arm solved as well."""
    by = Counter(row["by"] for row in rows if row["answer"] is not None)
    facts = {
        "problems": len(rows),
        "solved": sum(by.values()),
        **{f"by {name}": count for name, count in sorted(by.items())},
        "rollouts": sum(row["rollouts"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 1),
        "contradicted": sum(row["contradicted"] for row in rows),
    }
    compared = [row["beside"] for row in rows if "beside" in row]
    if compared:
        facts |= {
            f"solved by {name}": sum(each[arm]["answer"] is not None for each in compared) for arm, name in ARMS.items()
        }
        facts["cpu_seconds of the comparison"] = round(sum(_seconds_beside(row) for row in rows), 1)
        facts["compared"] = (
            f"at equal rollouts: a ladder for each problem solved {facts['solved']} of {len(rows)}, "
            + ", ".join(f"{name} {facts[f'solved by {name}']}" for name in ARMS.values())
        )
    return facts


def _seconds_beside(row: dict[str, Any]) -> float:
    """Return the CPU seconds that a row's comparison took; a right greedy answer is compared without a new attempt."""
    from everlearn.training.test_time import By  # imports torch

    return 0.0 if row["by"] == By.GREEDY else sum(each["cpu_seconds"] for each in row.get("beside", {}).values())


def offer(store: Store, line: str, problems: Sequence[Problem], rows: Sequence[dict[str, Any]]) -> int:
    """Write what was not solved at once as one shard of the line's inbox, the same rows once. Return how many there are.

    `rows` are the results of `problems`, in the same order.
    """
    from everlearn.training.test_time import By  # imports torch

    solved = [
        offered_row(problem, row["answer"], domain=load_domain(problem.domain))
        for problem, row in zip(problems, rows, strict=True)
        if row["answer"] is not None and row["by"] != By.GREEDY
    ]
    if solved:
        add_shard(store, line, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in solved).encode())
    return len(solved)


def offered_row(problem: Problem, answer: str, *, domain: Domain) -> dict[str, str]:
    """Return the row of a solved problem for a night: with its own reference, else with the answer.

    The answer is the `reference` where the domain keeps it as one and judges it right by it, as `supervised.epochs` needs it. Elsewhere, such as
    in a domain whose references are tests or that keeps none, it is in the field `answer`, which a night counts and does not use.
    """
    row = {"problem": problem.statement, "domain": problem.domain}
    if problem.reference is not None:
        return row | {"reference": problem.reference}
    try:
        taught = domain.problem({"statement": problem.statement, "reference": answer})
    except GrammarError:
        return row | {"answer": answer}
    is_kept = taught.reference is not None and domain.verify(taught, answer).is_correct
    return row | {"reference" if is_kept else "answer": answer}
