"""Contamination: training problems that are equivalent to an item of a suite, and the keys that detect them.

Two problems are equivalent if they differ by a constant factor, or by more that the domain knows to be immaterial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem


def equivalence_keys(statements: Iterable[str], *, domain: Domain) -> frozenset[str]:
    """Return the keys of these statements. A problem with one of them must not be trained on if these are suite items."""
    return frozenset(domain.equivalence(statement) for statement in statements)


def is_contaminated(statement: str, *, domain: Domain, forbidden: Collection[str]) -> bool:
    """Return whether a statement is equivalent to a suite item; `forbidden` are the keys of all suite items."""
    return domain.equivalence(statement) in forbidden


def without_contamination(
    problems: Iterable[Problem], *, domain: Domain, forbidden: Collection[str]
) -> tuple[Problem, ...]:
    """Return the problems whose equivalence key is not in `forbidden`."""
    return tuple(
        problem for problem in problems if not is_contaminated(problem.statement, domain=domain, forbidden=forbidden)
    )
