"""Parts of a large file, and the composite checksum by which S3 identifies the object made of them.

S3 gives a multipart object the SHA-256 of its parts' SHA-256 digests, followed by their number:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. The same cuts give the same
checksum, so a local file can be compared with an object without a download.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SINGLE_REQUEST_BYTES = 32 * 1024**2
"""Files up to this size are sent in one request."""
PART_BYTES = 16 * 1024**2
MAX_PARTS = 10_000  # the limit of S3


def plan_parts(size: int) -> list[tuple[int, int]]:
    """Return (offset, length) in bytes of each part of a file of `size` bytes; empty if one request is enough."""
    if size <= SINGLE_REQUEST_BYTES:
        return []
    length = max(PART_BYTES, -(-size // MAX_PARTS))
    return [(start, min(length, size - start)) for start in range(0, size, length)]


def read_part(descriptor: int, offset: int, length: int) -> bytes:
    """Return exactly these bytes of an open file. Raises OSError if the file has become shorter."""
    data = os.pread(descriptor, length, offset)  # does not move the file position, so threads can share the file
    if len(data) != length:
        raise OSError(f"the file has changed while it was read: {len(data)} of {length} bytes at {offset}")
    return data


def checksum(data: bytes) -> str:
    """Return the SHA-256 in base64, as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def join_checksums(part_checksums: list[str]) -> str:
    """Return the composite checksum of parts with these checksums."""
    digests = b"".join(base64.b64decode(part) for part in part_checksums)
    return f"{checksum(digests)}-{len(part_checksums)}"


def composite_checksum(path: Path) -> str | None:
    """Return the composite checksum that S3 holds for this file; None if it is sent in one request."""
    parts = plan_parts(path.stat().st_size)
    with path.open("rb") as file:
        return join_checksums([checksum(read_part(file.fileno(), *part)) for part in parts]) if parts else None
