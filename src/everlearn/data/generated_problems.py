"""Different problems that a domain generates: fillers of a night, and rows or a suite (`everlearn domain generate`)."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind, parse
from everlearn.errors import BadInputError
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

TRIES_PER_PROBLEM = 50
"""Generated problems to try for each one that is wanted, before the domain counts as exhausted."""


def draw_different(
    draw: Callable[[], Problem], *, count: int, domain: Domain, forbidden: Collection[str] = ()
) -> list[Problem]:
    """Return up to `count` drawn problems, none equivalent to another one, or with a key in `forbidden`.

    Fewer where the domain has no more of them. A key is a canonical form or an equivalence key.
    """
    keys: set[str] = set()
    found: list[Problem] = []
    for _ in range(TRIES_PER_PROBLEM * count):
        if len(found) >= count:
            break
        problem = draw()
        if reserve(problem.statement, domain=domain, forbidden=forbidden, keys=keys):
            found.append(problem)
    return found


def reserve(statement: str, *, domain: Domain, forbidden: Collection[str], keys: set[str]) -> bool:
    """Return whether the statement is new and not forbidden; if so, add its keys to `keys`."""
    own = {domain.canonical(statement), domain.equivalence(statement)}
    if any(key in forbidden or key in keys for key in own):
        return False
    keys |= own
    return True


def generate_problems(domain: Domain, *, count: int, size: int, seed: int) -> tuple[Problem, ...]:
    """Return `count` problems of about this size, none equivalent to another one; the same for equal arguments.

    Raises:
        BadInputError: the domain has no generator, or not as many different problems.
    """
    rng = random.Random(f"generated:{size}:{seed}")  # noqa: S311 (a seeded choice is no cryptography)
    label = domain.name.replace("/", "-")
    found = draw_different(lambda: domain.generate(rng, size=size), count=count, domain=domain)
    if len(found) < count:
        raise BadInputError(
            f"domain {domain.name} has no {count} different problems of size {size}: {len(found)} were found, ask for "
            f"these or for a larger --size"
        )
    return tuple(
        replace(problem, id=f"{label}-{size}-{seed}-{number:04d}") for number, problem in enumerate(found, start=1)
    )


def write_problems(problems: tuple[Problem, ...], path: Path, *, suite: str | None = None) -> None:
    """Write rows of new problems, or a skill suite of that name. Raises BadInputError if the file exists."""
    if path.exists():
        raise BadInputError(f"{path} exists: name another file, or remove it")
    if suite is not None:
        made = Suite(name=suite, kind=SuiteKind.SKILL, problems=problems)
        parse(made.to_jsonl(), name=suite, where=str(path))  # what no night could read is not written
        made.save(path)
        return
    rows = [{"id": each.id, "domain": each.domain, "problem": each.statement} for each in problems]
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
