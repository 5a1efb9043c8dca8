"""Ingest new problems: read them, validate them, and claim the new ones as a snapshot.

<line>/intake/<digest>                  the rows that were read, valid and invalid
<line>/intake/<digest>.html             Data Docs of the validation
<line>/intake/<digest>.quarantine.jsonl the invalid rows
<line>/snapshots/<data digest>/…        snapshot.dvc and counts.json (data/snapshot_store.py), data_docs.html,
                                        quarantine.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.data import rows
from everlearn.data.acceptance import AcceptanceCriteria, decide
from everlearn.data.bucket_inbox import inbox_prefix
from everlearn.data.snapshot import Watermark, take
from everlearn.data.snapshot_store import folder_of, load_snapshot, save_snapshot
from everlearn.registry.connect import open_registry, open_store
from everlearn.storage.immutable_objects import fetch, write_once
from everlearn.storage.local_file import write_whole
from everlearn.training.problem_file import read_rows
from tasks.data_docs import data_docs
from tasks.expectations import validate_rows
from tasks.night import LOG, as_json, step_task

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from everlearn.storage.protocol import Store

EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSnapshot:
    """Digest of a snapshot and its number of problems."""

    data_digest: str
    problems: int


@step_task
def read_problems(settings: Settings, data: Path | None, *, again: bool = False) -> str:
    """Read the shards that no published night has claimed, `again` all shards. Return the digest of the intake.

    Without `data`, read the inbox of the line, on this machine and in the bucket; it may be empty.

    Raises:
        BadInputError: `data` holds no problem.
    """
    store, line = open_store(settings.store), settings.store.line
    seen, inbox = _watermark(settings, store, again=again).sources, settings.inbox_directory
    if data is None and not sync_inbox(settings, store):
        LOG.info("no new problems: %s and %s/inbox/ in the bucket are empty", inbox, line)
        intake = rows.Intake(rows=(), sources=(), seen_files=0)
    else:
        intake = read_rows(settings.resolve(data or inbox), settings=settings, seen=seen)
    LOG.info("%d rows read, %d files seen before", len(intake.rows), intake.seen_files)
    if intake.unused_sentence:
        LOG.info("%s", intake.unused_sentence)
    content = intake.to_bytes()
    write_once(store, f"{line}/intake/{digest_of(content)}", content)
    return digest_of(content)


@step_task
def find_unseen(settings: Settings) -> list[str]:
    """Return the digests of the shards in the inbox that no published night has claimed. Raises BadInputError as `read_problems`."""
    store = open_store(settings.store)
    seen = _watermark(settings, store).sources
    return sorted({rows.digest_of_shard(path) for path in sync_inbox(settings, store)} - set(seen))


def sync_inbox(settings: Settings, store: Store) -> list[Path]:
    """Copy new shards from `<line>/inbox/` in the bucket to the local inbox, and return all shards there."""
    inbox, line = settings.inbox_directory, settings.store.line
    for shard in store.list(inbox_prefix(line)):
        local = inbox / f"{digest_of(f'{shard.key} {shard.etag}'.encode())[:16]}.jsonl"
        if shard.key.endswith(rows.SUFFIXES) and not local.exists():
            write_whole(local, store.get(shard.key).data)
    return sorted(path for path in inbox.glob("*") if path.name.endswith(rows.SUFFIXES))


@step_task
def validate_problems(settings: Settings, intake: str) -> None:
    """Validate the rows, and write Data Docs and quarantine.

    Raises:
        BadDataError: too large a share of the rows is invalid; the message has the first reasons.
    """
    store, line = open_store(settings.store), settings.store.line
    new = _load_intake(store, line, intake).rows
    if not new:
        return
    criteria = AcceptanceCriteria(domains=(settings.domain,), max_bad_share=settings.ingest.max_bad_share)
    validation = validate_rows(new, criteria=criteria)
    acceptance = decide(new, bad=validation.bad, criteria_met=validation.success, criteria=criteria)
    quarantine = f"{line}/intake/{intake}.quarantine.jsonl"
    store.put(f"{line}/intake/{intake}.html", data_docs(validation.result).encode())
    store.put(quarantine, b"".join(as_json(rows.plain_row(row)) + b"\n" for row in acceptance.quarantined))
    for row in acceptance.quarantined[:EXAMPLES]:
        LOG.warning("quarantine: %s: %s (%s)", row.where, row.why, row.fault)
    acceptance.require_accepted(quarantine=f"s3://{settings.store.bucket}/{quarantine}")


@step_task
def claim_problems(settings: Settings, intake: str, *, again: bool = False) -> ClaimedSnapshot:
    """Save the new problems as an immutable snapshot, pushed with DVC. `again` keeps those that were seen before.

    Which of them are held out depends on each problem alone, so no problem changes sides when it comes again.
    """
    store, line = open_store(settings.store), settings.store.line
    content = _load_intake(store, line, intake)
    snapshot, counts = take(content.rows, sources=content.sources, watermark=_watermark(settings, store, again=again))
    save_snapshot(store, snapshot, counts, settings=settings.store)
    if content.rows:
        folder = folder_of(line, snapshot.digest)
        for suffix, name in ((".html", "data_docs.html"), (".quarantine.jsonl", "quarantine.jsonl")):
            store.put(f"{folder}/{name}", store.get(f"{line}/intake/{intake}{suffix}").data)
    LOG.info(
        "snapshot %s: %d accepted, %d duplicates, %d seen before; in quarantine: %s",
        snapshot.digest[:12],
        counts.accepted,
        counts.duplicates,
        counts.seen,
        ", ".join(f"{count} {fault}" for fault, count in counts.quarantined.items()) or "none",
    )
    return ClaimedSnapshot(data_digest=snapshot.digest, problems=len(snapshot.entries))


def _load_intake(store: Store, line: str, digest: str) -> rows.Intake:
    return rows.Intake.from_bytes(fetch(store, f"{line}/intake/{digest}", digest=digest))


def _watermark(settings: Settings, store: Store, *, again: bool = False) -> Watermark:
    """Return the claims of the published nights of the line; `again` none, so that nothing counts as seen."""
    if again:
        return Watermark()
    claimed = open_registry(settings).state().claimed
    return Watermark.of(load_snapshot(store, settings.store.line, digest) for digest in claimed)
