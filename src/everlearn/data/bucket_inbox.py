"""The inbox of a line in the bucket, `<line>/inbox/`: shards of new problems, which the next night copies and reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.canonical_json import digest_of
from everlearn.storage.immutable_objects import write_once

if TYPE_CHECKING:
    from everlearn.storage.protocol import Store


def inbox_prefix(line: str) -> str:
    """Return what the keys of all shards begin with."""
    return f"{line}/inbox/"


def add_shard(store: Store, line: str, data: bytes) -> None:
    """Write a shard of JSON Lines under the name of its digest, so that equal bytes are stored once."""
    write_once(store, f"{inbox_prefix(line)}{digest_of(data)[:16]}.jsonl", data)
