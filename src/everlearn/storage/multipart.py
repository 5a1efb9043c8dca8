"""Large files in parts: how they are cut, and the checksum of checksums by which S3 knows the whole.

S3 gives a multipart object the SHA-256 of its parts' SHA-256 digests, followed by their number (a *composite*
checksum): https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html. Whoever cuts a file
in the same way can compute it, and so compare without a download.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SINGLE_REQUEST_BYTES = 32 * 1024**2
"""Files up to this size (bytes) go in one request."""
PART_BYTES = 16 * 1024**2
MAX_PARTS = 10_000


def cut(size: int) -> list[tuple[int, int]]:
    """(offset, length) of each part of a file of `size` bytes; nothing where one request is enough."""
    if size <= SINGLE_REQUEST_BYTES:
        return []
    length = max(PART_BYTES, -(-size // MAX_PARTS))
    return [(start, min(length, size - start)) for start in range(0, size, length)]


def read_part(descriptor: int, offset: int, length: int) -> bytes:
    """Exactly those bytes of an open file. OSError if it has become shorter."""
    data = os.pread(descriptor, length, offset)
    if len(data) != length:
        raise OSError(f"the file has changed while it was read: {len(data)} of {length} bytes at {offset}")
    return data


def checksum(data: bytes) -> str:
    """SHA-256 as S3 writes it: base64."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def join_checksums(parts: list[str]) -> str:
    """The composite checksum of parts with these checksums."""
    joined = b"".join(base64.b64decode(each) for each in parts)
    return f"{checksum(joined)}-{len(parts)}"


def composite(path: Path) -> str | None:
    """The composite checksum that a store holds of the file at `path`; None where it goes in one request."""
    parts = cut(path.stat().st_size)
    with path.open("rb") as file:
        return join_checksums([checksum(read_part(file.fileno(), *part)) for part in parts]) if parts else None
