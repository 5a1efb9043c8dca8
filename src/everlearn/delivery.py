"""Delivering a version into a directory: whole or not at all, and never anything that was not verified.

The files are written beside the target, flushed to disk, and swapped in by one system call. A receipt among them says
which version it is; where it and the files are right already, nothing is touched.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.document import canonical, digest_of
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.manifest import ObjectRef

RECEIPT = "everlearn.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a directory holds: the file `everlearn.json` in it."""

    line: str
    version: str
    manifest: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(asdict(self))


def deliver(files: dict[str, ObjectRef], *, receipt: Receipt, to: Path, fetch: Callable[[ObjectRef], bytes]) -> Path:
    """Let directory `to` hold exactly these files and the receipt. `fetch` returns verified bytes, or raises.

    Raises BadInputError when `to` is a file, or a directory with something in it that was not delivered by us.
    """
    to = to.absolute()
    _check_target(to)
    if _holds(to, files, receipt):
        return to
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent, ignore_cleanup_errors=True) as scratch:
            fresh = Path(scratch) / "fresh"
            fresh.mkdir()
            for name, ref in files.items():
                _write(fresh / name, fetch(ref))
            _write(fresh / RECEIPT, receipt.to_bytes())
            _sync(fresh)
            swap(fresh, to)
            _sync(to.parent)
    except OSError as error:
        raise BadInputError(f"{to} cannot be written ({error.strerror}); make room or choose another --to") from None
    return to


def swap(fresh: Path, target: Path) -> None:
    """Put directory `fresh` in the place of `target`; what was there is where `fresh` was.

    Atomic where the file system can exchange two names (all common ones on Linux); elsewhere `target` is missing for
    the moment between two renames.
    """
    if not target.exists():
        fresh.rename(target)
    elif not _exchange(fresh, target):
        aside = fresh.with_name("aside")
        target.rename(aside)
        fresh.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _check_target(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise BadInputError(f"{to} is no directory; name one that does not exist, or that an earlier pull made")
    if to.is_dir() and any(to.iterdir()) and not (to / RECEIPT).is_file():
        raise BadInputError(f"{to} holds files that no pull has put there; choose another directory")


def _holds(to: Path, files: dict[str, ObjectRef], receipt: Receipt) -> bool:
    if not to.is_dir() or {path.name for path in to.iterdir()} != {*files, RECEIPT}:
        return False
    right = (to / RECEIPT).read_bytes() == receipt.to_bytes()
    return right and all(digest_of((to / name).read_bytes()) == ref.digest for name, ref in files.items())


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
