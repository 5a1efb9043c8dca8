"""Problems that each night measured or trained on, recorded for the life of the line, so that no later night mixes them.

    <line>/problems/measured/<digest>   items of all suites that a night measures, however it ends
    <line>/problems/trained/<digest>    problems that a night trains on: roots, variants, replayed ones

A file is named by the SHA-256 of its bytes and written once; none is ever replaced or removed. It has a header line,
then one line for each problem with its statement and its equivalence key. The key is computed again from the statement
where the domain's rule has changed since (`equivalence_scheme`). `before` names the files that a file follows, and
the event of a night the files that it wrote, so that `everlearn fsck` notices a lost one.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.errors import GrammarError, IntegrityError
from everlearn.storage.immutable_objects import fetch, write_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from everlearn.domains.contract import Domain
    from everlearn.storage.protocol import Store

READERS = 16
RECORDS = "records"
"""Name of the result of a night that lists the records it wrote, as `measured/<digest>`."""


class Use(StrEnum):
    """Use of a problem by a night."""

    MEASURED = "measured"
    TRAINED = "trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedProblems:
    """The problems of one use in some nights: statements and their equivalence keys.

    `nights` are cycle keys; one, except in a record that was rebuilt for older nights. `scheme` names the rule by which
    the keys were computed.
    """

    nights: tuple[str, ...]
    scheme: str
    problems: Mapping[str, str]
    before: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, statements: Iterable[str], *, nights: Collection[str], domain: Domain, before: Collection[str] = ()
    ) -> UsedProblems:
        """Return the record of these statements."""
        return cls(
            nights=tuple(sorted(nights)),
            scheme=domain.equivalence_scheme,
            problems={text: domain.equivalence(text) for text in statements},
            before=tuple(sorted(before)),
        )

    def to_bytes(self) -> bytes:
        """Return the header and one line a problem, sorted, so that equal records have equal bytes."""
        header = {"record": 1, "nights": self.nights, "scheme": self.scheme, "before": self.before}
        lines = [header, *({"statement": text, "key": key} for text, key in sorted(self.problems.items()))]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> UsedProblems:
        """Invert `to_bytes`. IntegrityError if `data` is no record."""
        try:
            header, *rows = [json.loads(line) for line in data.decode().rstrip("\n").split("\n")]
            return cls(
                nights=tuple(header["nights"]),
                scheme=header["scheme"],
                problems={row["statement"]: row["key"] for row in rows},
                before=tuple(header["before"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{name} is no record of problems ({error!r}); restore it from a backup") from None

    def keys(self, domain: Domain) -> frozenset[str]:
        """Return the equivalence keys by the domain's present rule."""
        return frozenset(self.key_of(statement, domain) for statement in self.problems)

    def key_of(self, statement: str, domain: Domain) -> str:
        """Return the equivalence key of one of the problems by the domain's present rule."""
        old = self.problems[statement]
        return old if self.scheme == domain.equivalence_scheme else _renewed(domain, statement, old=old)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierUse:
    """Equivalence keys of what earlier nights measured, however they ended, and of what the published ones trained on.

    What an unpublished night trained on has left no trace in a model. `not_fresh` are keys that tonight's target must
    not hold, since a test on them would be biased: nights measured them whose undecided candidate tonight goes on from,
    or that tested a candidate against tonight's parent. `tips` are the newest records of measured problems, which the
    next one names.
    """

    measured: frozenset[str] = frozenset()
    trained: frozenset[str] = frozenset()
    not_fresh: frozenset[str] = frozenset()
    tips: frozenset[str] = frozenset()


def load_earlier_use(
    store: Store,
    line: str,
    *,
    night: str,
    published: Collection[str],
    domain: Domain,
    begun: Collection[str] = (),
    tested: Collection[str] = (),
) -> EarlierUse:
    """Return what the nights other than `night` used.

    `published` are the cycle keys of the published ones, `begun` those of the undecided ones that `night` goes on from,
    and `tested` those whose problems must not be in its target.
    """
    measured, trained = (load_records(store, line, use) for use in (Use.MEASURED, Use.TRAINED))
    # A resumed night finds its own record: it must not forbid itself its own items.
    others = {digest: record for digest, record in measured.items() if record.nights != (night,)}
    learnt = _of_nights(trained.values(), {*published, *begun})
    not_fresh = _of_nights(others.values(), {*begun, *tested})
    return EarlierUse(
        measured=frozenset[str]().union(*(record.keys(domain) for record in others.values())),
        trained=frozenset[str]().union(*(record.keys(domain) for record in learnt)),
        not_fresh=frozenset[str]().union(*(record.keys(domain) for record in not_fresh)),
        tips=frozenset(tips_of(others)),
    )


def _of_nights(records: Iterable[UsedProblems], nights: set[str]) -> list[UsedProblems]:
    return [record for record in records if not nights.isdisjoint(record.nights)]


def folder_of(line: str, use: Use) -> str:
    """Return the prefix of the records of one use."""
    return f"{line}/problems/{use}/"


def save_record(store: Store, line: str, use: Use, record: UsedProblems) -> str:
    """Write a record, unless it is there. Return its digest."""
    data = record.to_bytes()
    write_once(store, f"{folder_of(line, use)}{digest_of(data)}", data)
    return digest_of(data)


def load_records(store: Store, line: str, use: Use) -> dict[str, UsedProblems]:
    """Return all records of one use by digest. IntegrityError if one is damaged."""
    keys = [info.key for info in store.list(folder_of(line, use))]
    with ThreadPoolExecutor(READERS) as pool:
        return dict(pool.map(lambda key: _load(store, key), keys))


def require_records(store: Store, line: str, named: Iterable[str]) -> None:
    """Raise IntegrityError if a record is gone that an event names, as `measured/<digest>`: none is ever removed."""
    folder = f"{line}/problems/"
    held = {info.key.removeprefix(folder) for info in store.list(folder)}
    if lost := sorted({*named} - held):
        raise IntegrityError(
            f"{len(lost)} records of what nights measured or trained on are missing, such as {folder}{lost[0]}: leaks could "
            "not be seen; run `everlearn fsck --repair`, or restore them from a backup"
        )


def tips_of(records: Mapping[str, UsedProblems]) -> set[str]:
    """Return the digests that no other record names as one before it."""
    return set(records) - {digest for record in records.values() for digest in record.before}


def _load(store: Store, key: str) -> tuple[str, UsedProblems]:
    digest = key.rpartition("/")[2]
    return digest, UsedProblems.from_bytes(fetch(store, key, digest=digest), name=key)


def _renewed(domain: Domain, statement: str, *, old: str) -> str:
    try:
        return domain.equivalence(statement)
    except GrammarError:
        return old  # a rule that no longer reads the statement: the old key still catches its equals
