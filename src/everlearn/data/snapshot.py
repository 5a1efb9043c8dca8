"""Snapshots: the new problems of a night, each once, as immutable bytes identified by their SHA-256.

A snapshot is JSON Lines: a header with the digests of its source shards, then one problem a line, sorted, so that the
same problems give the same bytes in whatever order they arrived. A snapshot claims its shards and problems for its
night; the watermark is the union of the claims of all published nights. Pure: no store (snapshot_store.py), no clock.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from everlearn.errors import IntegrityError
from everlearn.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from everlearn.data.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted problem, its hidden reference if it has one, and its canonical form."""

    canonical: str
    id: str
    domain: str
    statement: str
    reference: str | None = field(default=None, repr=False)

    @property
    def problem(self) -> Problem:
        """The problem without its canonical form."""
        return Problem(id=self.id, domain=self.domain, statement=self.statement, reference=self.reference)

    def to_plain(self) -> dict[str, str]:
        """Return the fields that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The shards (by SHA-256) and problems that one night claims."""

    sources: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return a header line and one line for each problem."""
        lines = [{"snapshot": 1, "sources": list(self.sources)}, *(entry.to_plain() for entry in self.entries)]
        return "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, digest: str) -> Snapshot:
        """Invert `to_bytes`. Raises IntegrityError unless `data` has that digest."""
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise IntegrityError(
                f"snapshot {digest} has other bytes ({actual}); restore it from a backup of the bucket"
            )
        header, *lines = [json.loads(line) for line in data.decode().split("\n") if line]
        return cls(sources=tuple(header["sources"]), entries=tuple(Entry(**line) for line in lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The claims of earlier nights: shards by SHA-256, problems by domain and canonical form."""

    sources: frozenset[str] = frozenset()
    problems: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, snapshots: Iterable[Snapshot]) -> Watermark:
        """Return the union of the claims."""
        claims = tuple(snapshots)
        return cls(
            sources=frozenset(source for claim in claims for source in claim.sources),
            problems=frozenset((entry.domain, entry.canonical) for claim in claims for entry in claim.entries),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Number of rows by outcome; each row counts once. `quarantined` has one number for each fault."""

    accepted: int
    duplicates: int
    seen: int
    quarantined: dict[str, int]


def take(rows: Iterable[Row], *, sources: Collection[str], watermark: Watermark) -> tuple[Snapshot, RowCounts]:
    """Return the snapshot of the valid rows that are new, one for each canonical form, and the counts of all rows."""
    entries: dict[tuple[str, str], Entry] = {}
    quarantined: Counter[str] = Counter()
    seen = duplicates = 0
    for row in rows:
        if row.fault is not None or row.canonical is None:
            quarantined[row.fault or "not usable"] += 1
            continue
        key = (str(row.domain), row.canonical)
        if key in watermark.problems:
            seen += 1
            continue
        duplicates += key in entries
        entry = _entry(row, key)
        # The smallest of equal problems, so that the order of arrival does not matter.
        entries[key] = min(entry, entries.get(key, entry), key=_order)
    chosen = _with_unique_ids(entries[key] for key in sorted(entries))
    snapshot = Snapshot(sources=tuple(sorted(sources)), entries=chosen)
    counts = RowCounts(
        accepted=len(chosen), duplicates=duplicates, seen=seen, quarantined=dict(sorted(quarantined.items()))
    )
    return snapshot, counts


def _entry(row: Row, key: tuple[str, str]) -> Entry:
    domain, canonical = key
    return Entry(
        canonical=canonical,
        id=row.id or _short_digest(key),
        domain=domain,
        statement=str(row.statement),
        reference=row.reference,
    )


def _order(entry: Entry) -> tuple[bool, str, str, str]:
    """Return what sorts equal problems. One with a reference comes first: without it, no answer could be judged."""
    return entry.reference is None, entry.id, entry.statement, entry.reference or ""


def _with_unique_ids(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the same problems; a repeated id gets the beginning of the problem's digest appended, until it is new."""
    ids: set[str] = set()
    chosen = []
    for entry in entries:
        identity = entry.id
        while identity in ids:
            identity += f"~{_short_digest((entry.domain, entry.canonical))}"
        ids.add(identity)
        chosen.append(replace(entry, id=identity))
    return tuple(chosen)


def _short_digest(key: tuple[str, str]) -> str:
    return hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
