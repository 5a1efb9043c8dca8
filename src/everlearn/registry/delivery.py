"""Delivering a version into a directory: whole or not at all, and never anything that was not verified.

    adapter/                          what consumers read: the files and a receipt, swapped in by one system call
    .adapter.partial/<manifest>/      what has arrived so far; a delivery that was cut short goes on from there

Files are streamed, flushed to disk and verified before the swap. The receipt says which version it is, and how far the
line's history had come when that was read: an older HEAD is not believed after that. Where the files are right
already, nothing is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.registry.manifest import ObjectRef

RECEIPT = "everlearn.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a directory holds: the file `everlearn.json` in it. `sequence` is that of the newest event seen."""

    line: str
    version: str
    manifest: str
    sequence: int = 0

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical(asdict(self))

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """The receipt in `directory`; None where there is none that can be read: then nothing is remembered."""
        try:
            data = (directory / RECEIPT).read_bytes()
            return cls(**parse(data, name=RECEIPT))
        except (OSError, IntegrityError, TypeError):
            return None


def deliver(
    files: dict[str, ObjectRef],
    *,
    receipt: Receipt,
    to: Path,
    fetch: Callable[[ObjectRef, Path], None],
    check: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Let directory `to` hold exactly these files and the receipt.

    `fetch` completes a file, of which a part may be there, and raises unless all of it is verified; `check` raises
    IntegrityError unless all of them together may be delivered. Raises BadInputError when `to` is a file, or a
    directory with something in it that was not delivered by us.
    """
    to = to.absolute()
    _check_target(to)
    beside = to.with_name(f".{to.name}.partial")
    if not beside.exists() and _holds(to, files, receipt) and receipt.sequence <= _remembered(to):
        return to
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _held(beside) as partial:
            if _holds(to, files, receipt):
                _remember(to, receipt, draft=partial / RECEIPT)
            else:
                _replace(to, files, receipt=receipt, partial=partial, fetch=fetch, check=check)
            shutil.rmtree(partial)
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
        target.rename(fresh.with_name("aside"))
        fresh.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _replace(
    to: Path,
    files: dict[str, ObjectRef],
    *,
    receipt: Receipt,
    partial: Path,
    fetch: Callable[[ObjectRef, Path], None],
    check: Callable[[Path], None],
) -> None:
    """Complete what has arrived, and swap it in. What cannot be verified, or not be written, is not kept."""
    arriving = partial / receipt.manifest
    try:
        for other in partial.iterdir():
            _remove(other, unless=other == arriving)
        arriving.mkdir(exist_ok=True)
        for other in arriving.iterdir():
            _remove(other, unless=other.name in files)
        for name, ref in files.items():
            fetch(ref, arriving / name)
            _sync(arriving / name)
        check(arriving)
        _write(arriving / RECEIPT, receipt.to_bytes())
        _sync(arriving)
        fresh = arriving.rename(partial / "fresh")  # the old files come to lie here, where nothing is ever continued
        swap(fresh, to)
        _sync(to.parent)
    except (OSError, IntegrityError):
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _remember(to: Path, receipt: Receipt, *, draft: Path) -> None:
    """Raise the sequence in the receipt, never lower it."""
    if _remembered(to) < receipt.sequence:
        _write(draft, receipt.to_bytes())
        draft.replace(to / RECEIPT)


def _remembered(to: Path) -> int:
    held = Receipt.of(to)
    return held.sequence if held else 0


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[Path]:
    """`directory`, made if need be, for one delivery at a time; the kernel lets go of it when a process dies."""
    while True:
        directory.mkdir(exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not directory.exists() or not os.path.samestat(os.fstat(descriptor), directory.stat()):
                continue  # whoever held it has just finished and removed it
            yield directory
            return
        finally:
            os.close(descriptor)


def _check_target(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise BadInputError(f"{to} is no directory; name one that does not exist, or that an earlier pull made")
    if to.is_dir() and any(to.iterdir()) and not (to / RECEIPT).is_file():
        raise BadInputError(f"{to} holds files that no pull has put there; choose another directory")


def _holds(to: Path, files: dict[str, ObjectRef], receipt: Receipt) -> bool:
    """Whether everything but the receipt's sequence is right already."""
    held = Receipt.of(to)
    if held is None or replace(held, sequence=0) != replace(receipt, sequence=0):
        return False
    if {path.name for path in to.iterdir()} != {*files, RECEIPT}:
        return False
    return all(_digest(to / name) == ref.digest for name, ref in files.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path, *, unless: bool) -> None:
    if unless:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
