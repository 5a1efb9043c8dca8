"""SHA-256 of large files, computed once and remembered by the identity of the file.

    ~/.cache/everlearn/digests/<digest of the path>.json      {"identity": [path, device, inode, size, mtime, ctime],
    "sha256": …}

One record a file, replaced atomically, so that processes may write at the same time. A record that cannot be read, or
is of another identity, is ignored. XDG_CACHE_HOME moves the folder. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

SMALL_BYTES = 16 * 1024**2
"""Files up to this size are hashed each time: that takes milliseconds, and no record can be wrong about them."""
FileIdentity = tuple[str, int, int, int, int, int]
SETTLED_S = 2.0
"""Age from which a file is remembered: a younger one may change again without another time stamp."""

_COMPUTED: dict[FileIdentity, str] = {}
"""Digests that this process has computed."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Reads the file only if it is small, new or changed."""
    identity = file_identity(path)
    if identity[3] <= SMALL_BYTES:
        return _compute(path)
    if identity in _COMPUTED:
        return _COMPUTED[identity]
    record = _folder() / f"{hashlib.sha256(str(identity[0]).encode()).hexdigest()}.json"
    known = _read(record, identity)
    if known is not None:
        return known
    digest = _compute(path)
    if file_identity(path) == identity and time.time() - max(identity[4:]) / 1e9 > SETTLED_S:
        _COMPUTED[identity] = digest  # for processes whose home directory is read-only
        _write(record, {"identity": identity, "sha256": digest})
    return digest


def _compute(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: Path) -> FileIdentity:
    """Return path, device, inode, size in bytes, and the times of the last change of content and of status in ns."""
    resolved = path.resolve()
    stat = resolved.stat()
    return str(resolved), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "everlearn" / "digests"


def _read(record: Path, identity: FileIdentity) -> str | None:
    """Return the remembered digest of the file with that identity; None if there is none."""
    try:
        content = json.loads(record.read_bytes())
        return str(content["sha256"]) if content["identity"] == list(identity) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write(record: Path, content: dict[str, object]) -> None:
    """Write the record, replacing an earlier one atomically. Without a writable folder nothing is remembered."""
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False) as file:
            json.dump(content, file)
        Path(file.name).replace(record)
