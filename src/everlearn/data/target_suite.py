"""Target suite of a night: its held-out problems, topped up with generated ones that resemble them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

# Generated problems to try for each missing item, before the domain counts as exhausted.
TRIES_PER_ITEM = 50


def freeze_target(
    held_out: Sequence[Problem],
    *,
    domain: Domain,
    size: int,
    forbidden: Collection[str],
    seed: int,
    like: Sequence[Problem] = (),
    name: str = "target",
) -> Suite:
    """Return all held-out problems, topped up to `size` with generated problems that resemble them.

    No item has a canonical form or an equivalence key in `forbidden`, and no two items are equivalent. If nothing was
    held out, problems are generated like those of `like`. An exhausted domain gives a smaller suite: the gate accounts
    for the actual size.

    Raises:
        BadInputError: there is neither a held-out problem nor one in `like`.
    """
    keys: set[str] = set()
    chosen = [problem for problem in held_out if _reserve(problem.statement, domain, forbidden, keys)]
    examples = tuple(chosen or like)  # a copy: generated problems are no examples
    if not examples:
        raise BadInputError(
            "no target suite: every held-out problem is equivalent to a training problem; bring more new problems"
        )
    tries = TRIES_PER_ITEM * max(0, size - len(chosen))
    for statement in _generate(examples, domain=domain, seed=seed, tries=tries):
        if len(chosen) >= size:
            break
        if _reserve(statement, domain, forbidden, keys):
            chosen.append(domain.problem(statement))
    return Suite(name=name, kind=SuiteKind.TARGET, problems=tuple(chosen))


def _generate(examples: Sequence[Problem], *, domain: Domain, seed: int, tries: int) -> Iterator[str]:
    """Yield generated statements, like each example in turn."""
    rng = random.Random(f"target:{seed}")  # noqa: S311 - a seeded choice is no cryptography
    for attempt in range(tries):
        yield domain.generate(rng, like=examples[attempt % len(examples)].statement)


def _reserve(statement: str, domain: Domain, forbidden: Collection[str], keys: set[str]) -> bool:
    """Return whether the statement is new and not forbidden; if so, add its keys to `keys`."""
    own = {domain.canonical(statement), domain.equivalence(statement)}
    if any(key in forbidden or key in keys for key in own):
        return False
    keys |= own
    return True
