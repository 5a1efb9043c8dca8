"""The inbox of a line: shards of new problems for its next night, each stored once and written atomically."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.data import rows
from everlearn.data.acceptance import has_acceptable_share
from everlearn.errors import BadDataError
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxReceipt:
    """Summary of added shards. `faults` counts bad rows by reason, `examples` explains the first of each, `unused` what is ignored."""

    rows: int
    good: int
    duplicates: int
    faults: dict[str, int]
    examples: tuple[str, ...]
    shards: tuple[Path, ...]
    unused: str | None = None


def add_to_inbox(
    path: Path,
    *,
    inbox: Path,
    domain: str,
    load: Callable[[str], Domain],
    max_bad_share: float,
    check: Callable[[Domain, Problem], None] = rows.ask_in_words,
    system: str = "",
) -> InboxReceipt:
    """Copy the shards at `path` into the inbox. `domain`, `load`, `check` and `system` are those of `rows.read`.

    Raises:
        BadDataError: the share of bad rows exceeds `max_bad_share`. Nothing is copied.
    """
    intake = rows.read(path, domain=domain, load=load, check=check, system=system)
    bad = [row for row in intake.rows if row.fault]
    good = [row for row in intake.rows if not row.fault]
    first = {row.fault: f"{row.where}: {row.why or row.fault}" for row in reversed(bad)}
    if not has_acceptable_share(bad=len(bad), rows=len(intake.rows), max_bad_share=max_bad_share):
        raise BadDataError(
            f"{path}: {len(bad)} of {len(intake.rows)} rows are bad, more than the {max_bad_share:.0%} of "
            f"ingest.max_bad_share; nothing was added. The first: {next(reversed(first.values()))}"
        )
    return InboxReceipt(
        rows=len(intake.rows),
        good=len(good),
        duplicates=len(good) - len({(row.domain, row.canonical) for row in good}),
        faults=dict(Counter(str(row.fault) for row in bad)),
        examples=tuple(first.values()),
        shards=tuple(_copy_shard(shard, inbox=inbox) for shard in rows.shards(path)),
        unused=intake.unused_sentence,
    )


def misplaced_shards(inbox: Path) -> str | None:
    """Return a warning about shards beside the inboxes of the lines, which no night reads; None if there are none."""
    shards = [each for each in inbox.glob("*.jsonl") if each.is_file()]
    if not shards:
        return None
    return f"{len(shards)} shards in {inbox} are in no line's inbox: `everlearn ingest {inbox}`, then delete them there"


def _copy_shard(shard: Path, *, inbox: Path) -> Path:
    """Copy a shard under the name of its digest, so that equal bytes are stored once."""
    data = shard.read_bytes()
    return write_whole(inbox / f"{hashlib.sha256(data).hexdigest()[:16]}.jsonl", data)
