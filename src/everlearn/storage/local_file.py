"""Files on this machine that a reader sees whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> Path:
    """Write a file, and its directory if there is none. A reader, or a second writer, sees the old bytes or the new ones.

    `mode` is what the umask leaves of it; 0o600 for a secret.

    Raises:
        OSError: the disk is full, or the place cannot be written. What was there is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:  # each writer has its own
        partial = Path(folder, path.name)
        partial.touch(mode)
        partial.write_bytes(data)
        return partial.replace(path)
