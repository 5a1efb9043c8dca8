"""New problems in: read them, hold them to the suite of expectations, claim what is new as a snapshot.

<line>/intake/<digest>                  the rows that were read, good and bad
<line>/snapshots/<data digest>/…        snapshot.dvc (what `dvc pull` follows), counts.json, quarantine.jsonl,
data_docs.html
dvc/files/md5/…                         the snapshot itself, where DVC keeps it
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.data import rows
from everlearn.data.snapshot import Snapshot, Watermark, dvc_file, dvc_key, dvc_target, take
from everlearn.domains.contract import load_domain
from everlearn.errors import BadDataError, UnknownDomainError
from everlearn.registry.connect import open_registry, open_store
from everlearn.storage.objects import fetch, write_once
from tasks.data_docs import data_docs
from tasks.expectations import validate_rows
from tasks.night import LOG, as_json, step_task

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store

MAX_STATEMENT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSnapshot:
    """A snapshot by its digest, and how many problems it holds."""

    data_digest: str
    problems: int


@step_task
def read_problems(settings: Settings, data: Path | None) -> str:
    """Read the shards that no published night has seen; the digest of the intake.

    Without `data` these are what was handed in for the line, here or in the bucket, and there may be none; BadInputError
    if `data` holds none.
    """
    store, line = open_store(settings.store), settings.store.line
    seen, inbox = _watermark(settings, store).sources, settings.inbox_directory
    if data is None and not bring_in(settings, store):
        LOG.info("nothing was handed in: %s and %s/inbox/ in the bucket are empty", inbox, line)
        intake = rows.Intake(rows=(), sources=(), seen_files=0)
    else:
        intake = rows.read(
            settings.resolve(data or inbox), domain=settings.domain, load=partial(_own, settings), seen=seen
        )
    LOG.info("%d rows read, %d files seen before", len(intake.rows), intake.seen_files)
    content = intake.to_bytes()
    write_once(store, f"{line}/intake/{digest_of(content)}", content)
    return digest_of(content)


@step_task
def find_unseen(settings: Settings) -> list[str]:
    """The digests of the shards that were handed in, here or in the bucket, and that no published night has seen."""
    store = open_store(settings.store)
    seen = _watermark(settings, store).sources
    return sorted({digest_of(path.read_bytes()) for path in bring_in(settings, store)} - set(seen))


def bring_in(settings: Settings, store: Store) -> list[Path]:
    """The shards of the inbox, once those that wait in the bucket, below `<line>/inbox/`, are in it as well."""
    inbox, line = settings.inbox_directory, settings.store.line
    for each in store.list(f"{line}/inbox/"):
        here = inbox / f"{digest_of(f'{each.key} {each.etag}'.encode())[:16]}.jsonl"
        if each.key.endswith(rows.SUFFIXES) and not here.exists():
            inbox.mkdir(parents=True, exist_ok=True)
            partial = here.with_suffix(".partial")
            partial.write_bytes(store.get(each.key).data)
            partial.replace(here)
    return sorted(path for path in inbox.glob("*") if path.suffix in rows.SUFFIXES)


@step_task
def validate_problems(settings: Settings, intake: str) -> None:
    """Hold the rows to the suite. BadDataError, with the first reasons, if too large a share is bad."""
    store, line = open_store(settings.store), settings.store.line
    rows = _intake(store, line, intake).rows
    if not rows:
        return
    found = validate_rows(
        rows, domains=[settings.domain], max_bad_share=settings.ingest.max_bad_share, max_length=MAX_STATEMENT
    )
    page, bad = data_docs(found.result).encode(), [rows[index] for index in found.bad]
    store.put(f"{line}/intake/{intake}.html", page)
    store.put(f"{line}/intake/{intake}.quarantine.jsonl", b"".join(as_json(asdict(row)) + b"\n" for row in bad))
    for row in bad[:5]:
        LOG.warning("quarantine: %s: %s (%s)", row.where, row.why, row.fault)
    if not found.success:
        reasons = "; ".join(f"{row.where}: {row.why}" for row in bad[:3])
        raise BadDataError(
            f"{len(bad)} of {found.rows} new rows are bad ({found.bad_share:.0%}, at most "
            f"{settings.ingest.max_bad_share:.0%} may be): {reasons}. Mend them, or raise ingest.max_bad_share. "
            f"All of them: s3://{settings.store.bucket}/{line}/intake/{intake}.quarantine.jsonl"
        )


@step_task
def claim_problems(settings: Settings, intake: str) -> ClaimedSnapshot:
    """Keep what is new as an immutable snapshot, where DVC finds it."""
    store, line = open_store(settings.store), settings.store.line
    read = _intake(store, line, intake)
    snapshot, counts = take(read.rows, sources=read.sources, watermark=_watermark(settings, store))
    data = snapshot.to_bytes()
    keep_dvc(store, data)
    folder = f"{line}/snapshots/{snapshot.digest}"
    store.put(f"{folder}/snapshot.dvc", dvc_file(data).encode())
    store.put(f"{folder}/counts.json", as_json(asdict(counts)))
    if read.rows:
        for source, name in ((".html", "data_docs.html"), (".quarantine.jsonl", "quarantine.jsonl")):
            store.put(f"{folder}/{name}", store.get(f"{line}/intake/{intake}{source}").data)
    bad = ", ".join(f"{count} {fault}" for fault, count in counts.quarantined.items()) or "none"
    LOG.info("snapshot %s: %d accepted, %d duplicates, %d seen before; in quarantine: %s", snapshot.digest[:12],
             counts.accepted, counts.duplicates, counts.seen, bad)  # fmt: skip
    return ClaimedSnapshot(data_digest=snapshot.digest, problems=len(snapshot.entries))


def keep_dvc(store: Store, data: bytes) -> None:
    """Write the bytes into DVC's own layout; the same bytes are there once."""
    keep_at = dvc_key(data)
    if not any(held.key == keep_at for held in store.list(keep_at)):
        store.create(keep_at, data)


def load_snapshot(store: Store, line: str, digest: str) -> Snapshot:
    """A snapshot by its digest, through its `.dvc` file, verified."""
    pointer = store.get(f"{line}/snapshots/{digest}/snapshot.dvc").data
    return Snapshot.from_bytes(store.get(dvc_target(pointer)).data, digest=digest)


def load_counts(store: Store, line: str, digest: str) -> dict[str, object]:
    """What became of the rows of that snapshot's night."""
    return dict(json.loads(store.get(f"{line}/snapshots/{digest}/counts.json").data))


def _intake(store: Store, line: str, digest: str) -> rows.Intake:
    return rows.Intake.from_bytes(fetch(store, f"{line}/intake/{digest}", digest=digest))


def _own(settings: Settings, name: str) -> Domain:
    """The line's own domain; UnknownDomainError for any other."""
    domain = load_domain(name)
    if name != settings.domain:
        raise UnknownDomainError(f"domain {name!r} is not that of line {settings.store.line}, {settings.domain!r}")
    return domain


def _watermark(settings: Settings, store: Store) -> Watermark:
    """What the published nights of this line have claimed."""
    claimed = open_registry(settings).state().claimed
    return Watermark.of(load_snapshot(store, settings.store.line, digest) for digest in claimed)
