"""Memory of a line: held-out problems of its published nights, as suites that guard what these nights taught.

Every version names one stored list with the problems of all nights of its ancestry. The list is a seeded reservoir,
stratified by night: each night puts its problems in an order that depends on nothing but them, and the list takes the
first of every night, then the second of every night, and so on until it is full. So it costs as much to measure after a
hundred nights as after ten, a problem that has left never returns, and every night keeps its share. An item's id is
`<night>/<id of the problem>`, with the start of the night's cycle key.

A night measures its memory as one suite for each earlier night, `memory-v0003`, so that a forgotten night is not
diluted by the others. Of more than `MOST_SUITES` nights, the oldest share the suite `memory-older`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contamination import equivalence_keys, without_contamination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

PREFIX = "memory"
MOST_SUITES = 12
_DIGITS = 12


def remember(
    memory: Iterable[Problem], own: Iterable[Problem], *, cycle_key: str, domain: Domain, per_night: int, total: int
) -> Suite | None:
    """Return the list with up to `per_night` of a night's held-out problems added, cut to `total`; None if it is empty.

    A problem that is equivalent to one of the list is not added.
    """
    items, night = tuple(memory), cycle_key[:_DIGITS]
    known = equivalence_keys([item.statement for item in items], domain=domain)
    fresh = without_contamination(own, domain=domain, forbidden=known)
    chosen = sorted(fresh, key=lambda problem: _rank(night, problem.statement))[:per_night]
    added = [replace(problem, id=f"{night}/{problem.id}") for problem in chosen]
    kept = _first_of_each_night((*items, *added), total=total)
    return Suite(name=PREFIX, kind=SuiteKind.MEMORY, problems=kept) if kept else None


def split_memory(memory: Iterable[Problem], *, versions: Mapping[str, str]) -> tuple[Suite, ...]:
    """Return the suites that a night measures. `versions` maps cycle keys to the versions that these nights published."""
    nights = name_nights(memory, versions=versions)
    alone = len(nights) if len(nights) <= MOST_SUITES else MOST_SUITES - 1
    split = len(nights) - alone
    older = [item for items in list(nights.values())[:split] for item in items]
    suites = dict(list(nights.items())[split:])
    named = ({memory_name("older"): older} if older else {}) | suites
    return tuple(Suite(name=name, kind=SuiteKind.MEMORY, problems=tuple(items)) for name, items in named.items())


def name_nights(memory: Iterable[Problem], *, versions: Mapping[str, str]) -> dict[str, list[Problem]]:
    """Return the items of each night by the name of its own suite, the oldest first. `versions` as for `split_memory`."""
    names = {key[:_DIGITS]: version for key, version in versions.items()}
    return {memory_name(names.get(night, night)): items for night, items in _by_night(memory).items()}


def memory_name(version: str) -> str:
    """Return the name of the suite that guards what the night of a version taught."""
    return f"{PREFIX}-{version}"


def _first_of_each_night(items: Sequence[Problem], *, total: int) -> tuple[Problem, ...]:
    """Return the first `total` items in the order: first of every night, second of every night, …, sorted by night."""
    nights = _by_night(items)
    shuffled = sorted(nights, key=lambda night: _rank("night", night))
    rounds = chain.from_iterable(zip_longest(*(nights[night] for night in shuffled)))
    chosen = {item.id for item in [item for item in rounds if item is not None][:total]}
    return tuple(item for item in items if item.id in chosen)


def _by_night(items: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Return the items of each night, in the order of the list: the oldest night first."""
    nights: dict[str, list[Problem]] = defaultdict(list)
    for item in items:
        nights[item.id.partition("/")[0]].append(item)
    return nights


def _rank(salt: str, text: str) -> bytes:
    return hashlib.sha256(f"{salt}:{text}".encode()).digest()
