"""What a night works on: the new problems, each once, as immutable bytes known by their digest.

A snapshot is JSONL: a header with the digests of the shards it came from, then one problem a line, sorted, so that
the same new problems are the same bytes, in whatever order they arrived. It claims those shards and those problems:
the *watermark* is what the snapshots of all published nights claim together.

Snapshots lie in DVC's content-addressed layout, beside a `.dvc` file for each, so that both we and `dvc pull` can read
them, without DVC having to be there. Pure: no store, no clock.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import yaml

from everlearn.errors import IntegrityError
from everlearn.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from everlearn.data.rows import Row

DVC_PREFIX = "dvc/files/md5"  # below the bucket, as the remote s3://<bucket>/dvc keeps its files
FILE_NAME = "snapshot.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted problem and its canonical form."""

    canonical: str
    id: str
    domain: str
    statement: str

    @property
    def problem(self) -> Problem:
        """The problem without its canonical form."""
        return Problem(id=self.id, domain=self.domain, statement=self.statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The claim of one night: which shards, and which problems."""

    sources: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Header and one problem a line."""
        lines = [{"snapshot": 1, "sources": list(self.sources)}, *map(asdict, self.entries)]
        return "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, digest: str) -> Snapshot:
        """Inverse of `to_bytes`. IntegrityError unless the bytes have that digest."""
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise IntegrityError(f"snapshot {digest} has other bytes ({found}); restore it from a backup of the bucket")
        header, *lines = [json.loads(line) for line in data.decode().split("\n") if line]
        return cls(sources=tuple(header["sources"]), entries=tuple(Entry(**line) for line in lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """What earlier nights have claimed: shards by digest, problems by domain and canonical form."""

    sources: frozenset[str] = frozenset()
    problems: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, snapshots: Iterable[Snapshot]) -> Watermark:
        """The union of the claims."""
        claims = tuple(snapshots)
        return cls(
            sources=frozenset(source for claim in claims for source in claim.sources),
            problems=frozenset((entry.domain, entry.canonical) for claim in claims for entry in claim.entries),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """What became of the lines of a night: every line is counted once."""

    accepted: int
    duplicates: int
    seen: int
    quarantined: dict[str, int]


def take(rows: Iterable[Row], *, sources: Collection[str], watermark: Watermark) -> tuple[Snapshot, RowCounts]:
    """The snapshot of the good rows that are new, one of several equals, and what became of all of them."""
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
        else:
            duplicates += key in entries
            entries[key] = min(_entry(row, key), entries.get(key, _entry(row, key)), key=_name)
    chosen = _with_different_ids(entries[key] for key in sorted(entries))
    snapshot = Snapshot(sources=tuple(sorted(sources)), entries=chosen)
    counts = RowCounts(
        accepted=len(chosen), duplicates=duplicates, seen=seen, quarantined=dict(sorted(quarantined.items()))
    )
    return snapshot, counts


def dvc_key(data: bytes) -> str:
    """Where DVC looks for these bytes in the remote."""
    md5 = _md5(data)
    return f"{DVC_PREFIX}/{md5[:2]}/{md5[2:]}"


def dvc_file(data: bytes) -> str:
    """The `.dvc` file for these bytes: put it into a DVC repository and run `dvc pull`."""
    out = {"md5": _md5(data), "size": len(data), "hash": "md5", "path": FILE_NAME}
    return yaml.safe_dump({"outs": [out]}, sort_keys=False)


def dvc_target(pointer: str | bytes) -> str:
    """The key that a `.dvc` file of ours points to: inverse of `dvc_file`."""
    md5 = yaml.safe_load(pointer)["outs"][0]["md5"]
    return f"{DVC_PREFIX}/{md5[:2]}/{md5[2:]}"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # DVC's name for content; the digest is what we trust


def _entry(row: Row, key: tuple[str, str]) -> Entry:
    domain, canonical = key
    return Entry(canonical=canonical, id=row.id or _short(key), domain=domain, statement=str(row.statement))


def _name(entry: Entry) -> tuple[str, str]:
    return entry.id, entry.statement


def _with_different_ids(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The same problems; where an id comes twice, the later one gets the beginning of its digest added."""
    taken: set[str] = set()
    chosen = []
    for entry in entries:
        identity = entry.id if entry.id not in taken else f"{entry.id}~{_short((entry.domain, entry.canonical))}"
        taken.add(identity)
        chosen.append(Entry(canonical=entry.canonical, id=identity, domain=entry.domain, statement=entry.statement))
    return tuple(chosen)


def _short(key: tuple[str, str]) -> str:
    return hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
