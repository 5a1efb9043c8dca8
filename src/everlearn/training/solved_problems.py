"""Results of `everlearn solve` and of the flow `solve`: their keys, rows and summary, and their offer to the next night."""

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
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store
    from everlearn.training.test_time import Budget, Solution

SECTIONS = ("learn", "ladder", "format", "compute")
"""Sections of the settings that a result depends on."""
ADDED_LATER = {"pseudo_labels", "updates"}
"""Settings of these sections that earlier keys do not have: part of a key only where they differ from their default."""
BESIDE = ("answer", "by", "rollouts", "tokens", "cpu_seconds")
"""Fields of a solution that the row keeps of each arm of a comparison."""
ARMS = {"samples": "best of n", "both": "both together"}
"""Comparisons at equal rollouts, as a summary names them."""


def keys_of(
    problems: Sequence[Problem],
    settings: Settings,
    budget: Budget,
    *,
    base: Path,
    adapter: Path | None,
) -> dict[str, tuple[str, str]]:
    """Return the two keys of each problem's result, by `Problem.key`: equal keys, equal results.

    They depend on the problem with its reference, the model, the budget, the settings, and the code of the domain and
    of Everlearn. Results are written under the second key. The first one differs from it in a mark for a comparison:
    earlier revisions wrote results with a comparison under it, so both are read.
    """
    from everlearn.training.models.fingerprint import fingerprint

    what = {
        "base": fingerprint(base),
        "adapter": adapter and digest_of((adapter / "adapter_model.safetensors").read_bytes()),
        "budget": asdict(budget),
        "domain": settings.domain,
        "code": [version("everlearn"), code_version(load_domain(settings.domain))],
        **{name: _without_later_defaults(getattr(settings, name)) for name in SECTIONS},
    }

    def key(problem: Problem, *, compares: bool) -> str:
        return digest_of(canonical({"problem": problem.key, "compares": compares, **what}))[:16]

    return {each.key: (key(each, compares=True), key(each, compares=False)) for each in problems}


def _without_later_defaults(section: BaseModel) -> dict[str, Any]:
    fields = type(section).model_fields
    defaults = {name for name in ADDED_LATER & set(fields) if getattr(section, name) == fields[name].default}
    return section.model_dump(mode="json", exclude=defaults)


def row_of(solution: Solution, *, domain: str, version: str, key: str) -> dict[str, Any]:
    """Return a result as JSON values."""
    row: dict[str, Any] = {"domain": domain, "problem": solution.statement, "version": version}
    row |= {field: value for field, value in solution.to_content().items() if field != "statement"}
    return row | {"key": key}


def with_comparison(row: dict[str, Any], arms: Mapping[str, dict[str, Any]], *, key: str) -> dict[str, Any]:
    """Return the row of a result with what each arm of the comparison did. It replaces the row without a comparison."""
    return row | {"beside": {arm: {name: each[name] for name in BESIDE} for arm, each in arms.items()}, "key": key}


def comparison_of(row: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Return what each arm did; None where that is not known for at most as many rollouts as the result took.

    Earlier revisions gave `both` a whole ladder beyond these.
    """
    arms: dict[str, dict[str, Any]] | None = row.get("beside")
    return arms if arms and all(each["rollouts"] <= row["rollouts"] for each in arms.values()) else None


def progress_of(rows: Collection[dict[str, Any]], *, problems: int, compares: bool) -> tuple[int, int]:
    """Return how many results and comparisons there are, and how many there will be."""
    if not compares:
        return len(rows), problems
    return len(rows) + sum(comparison_of(row) is not None for row in rows), 2 * problems


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return counts of solved problems, in total, by method and by arm of the comparison, and their cost."""
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
    compared = [(row, arms) for row in rows if (arms := comparison_of(row))]
    if compared:
        facts |= {
            f"solved by {name}": sum(arms[arm]["answer"] is not None for _, arms in compared)
            for arm, name in ARMS.items()
        }
        facts["cpu_seconds of the comparison"] = round(sum(_seconds_beside(*each) for each in compared), 1)
        solved = sum(row["answer"] is not None for row, _ in compared)
        facts["compared"] = (
            f"at equal rollouts: a ladder for each problem solved {solved} of {len(compared)}, "
            + ", ".join(f"{name} {facts[f'solved by {name}']}" for name in ARMS.values())
        )
    return facts


def _seconds_beside(row: dict[str, Any], arms: dict[str, dict[str, Any]]) -> float:
    """Return the CPU seconds that a row's comparison took; a right greedy answer is compared without a new attempt."""
    from everlearn.training.test_time import By  # imports torch

    return 0.0 if row["by"] == By.GREEDY else sum(each["cpu_seconds"] for each in arms.values())


def offer(store: Store, line: str, problems: Sequence[Problem], rows: Sequence[dict[str, Any]]) -> int:
    """Write the solved problems, except by a greedy answer, as one shard of the line's inbox. Return their number.

    `rows` are the results of `problems`, in the same order. Equal rows are one shard, however often they are written.
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

    The answer is the `reference` where the domain keeps it as one and judges it right by it, as `supervised.epochs`
    needs it. Elsewhere, such as in a domain whose references are tests or that keeps none, it is in the field `answer`,
    which a night counts and does not use.
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
