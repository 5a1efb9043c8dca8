"""Leaks found later: problems that a version was trained on and a night measured, by the present rule of equivalence.

Each night forbids what earlier nights measured, by the rule of its time. A rule that has become wider since finds more
equals. A version passes what it was trained on to all that descend from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from everlearn.data.used_problems import Use, load_records

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from everlearn.data.used_problems import UsedProblems
    from everlearn.domains.contract import Domain
    from everlearn.storage.protocol import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A problem that a version was trained on, and an equivalent one that nights measured. `nights` are cycle keys."""

    version: str
    trained: str
    measured: str
    nights: tuple[str, ...]


def find_leaks(
    store: Store,
    line: str,
    *,
    versions: Mapping[str, str],
    domain: Domain,
    named: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[Leak]:
    """Return all leaks of the published versions, given by cycle key, in the order of versions and problems.

    `named` are the digests of the trained records that the event of a night names. Other records of that night are of
    an attempt with the same inputs that was given up, of which its version has nothing. Of a night that is not there,
    all count.

    Raises:
        IntegrityError: a record is damaged.
    """
    measured: dict[str, tuple[str, set[str]]] = {}
    for record in load_records(store, line, Use.MEASURED).values():
        for key, statement in _by_key(record, domain).items():
            measured.setdefault(key, (statement, set()))[1].update(record.nights)
    leaks = []
    for digest, record in load_records(store, line, Use.TRAINED).items():
        nights = (night for night in record.nights if digest in named.get(night, (digest,)))
        own = sorted(versions[night] for night in nights if night in versions)
        for key, statement in _by_key(record, domain).items():
            if key in measured:
                text, by = measured[key]
                leaks += [
                    Leak(version=version, trained=statement, measured=text, nights=tuple(sorted(by))) for version in own
                ]
    return sorted(leaks, key=lambda leak: (leak.version, leak.trained))


def _by_key(record: UsedProblems, domain: Domain) -> dict[str, str]:
    """Return a statement for each key by the present rule."""
    return {record.key_of(statement, domain): statement for statement in record.problems}
