"""Delivery of a version into a directory: all files or none, and only verified bytes.

    adapter/                          read by consumers: the files and a receipt, swapped in with one system call
    .adapter.partial/<manifest>/      files that have arrived; an interrupted delivery continues from them

Files are streamed, verified and flushed to disk before the swap. The receipt holds the version and the number of events
in the history at that time, so that an older HEAD is refused later. A directory that is right already is not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from everlearn.canonical_json import canonical, parse
from everlearn.errors import BadInputError, IntegrityError
from everlearn.storage.immutable_objects import digest_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.registry.manifest import ObjectRef

RECEIPT = "everlearn.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Content of the file `everlearn.json` in a delivered directory. `sequence` is the number of the newest event seen."""

    line: str
    version: str
    manifest: str
    sequence: int = 0

    def to_bytes(self) -> bytes:
        """Return the receipt as canonical JSON."""
        return canonical(asdict(self))

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """Return the receipt in `directory`; None if there is none or it cannot be read."""
        try:
            held = parse((directory / RECEIPT).read_bytes(), name=RECEIPT)
            is_sound = all(isinstance(each, int if name == "sequence" else str) for name, each in held.items())
            return cls(**held) if is_sound else None
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
    """Make directory `to` hold exactly these files and the receipt, and return it.

    `fetch` completes a file, of which a part may be there, and raises unless it is verified. `check` raises
    IntegrityError unless the directory with all files may be delivered.

    Raises:
        BadInputError: `to` is a file or link, holds files of another origin, or cannot be written.
    """
    to = to.absolute()
    _check_target(to)
    staging = to.with_name(f".{to.name}.partial")
    if not staging.exists() and _is_delivered(to, files, receipt) and receipt.sequence <= _sequence_of(to):
        return to
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _locked(staging) as partial:
            if _is_delivered(to, files, receipt):
                _raise_sequence(to, receipt, draft=partial / RECEIPT)
            else:
                _replace(to, files, receipt=receipt, partial=partial, fetch=fetch, check=check)
            shutil.rmtree(partial)
    except OSError as error:
        raise BadInputError(f"{to} cannot be written ({error.strerror}); make room or choose another --to") from None
    return to


def swap(fresh: Path, target: Path) -> None:
    """Exchange directory `fresh` with `target`.

    Atomic if the file system supports RENAME_EXCHANGE, as all common ones on Linux do; otherwise `target` is missing
    between two renames.
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
    """Complete the files in `partial`, and swap them in. On failure to verify or to write, `partial` is removed."""
    arriving = partial / receipt.manifest
    try:
        for other in partial.iterdir():
            if other != arriving:
                _remove(other)
        arriving.mkdir(exist_ok=True)
        for other in arriving.iterdir():
            if other.name not in files:
                _remove(other)
        for name, ref in files.items():
            fetch(ref, arriving / name)
            _sync(arriving / name)
        check(arriving)
        _write(arriving / RECEIPT, receipt.to_bytes())
        _sync(arriving)
        fresh = arriving.rename(
            partial / "fresh"
        )  # after the swap the old files are here, a name that no delivery continues from
        swap(fresh, to)
        _sync(to.parent)
    except (OSError, IntegrityError):
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _raise_sequence(to: Path, receipt: Receipt, *, draft: Path) -> None:
    """Set the sequence in the receipt if it is higher."""
    if _sequence_of(to) < receipt.sequence:
        _write(draft, receipt.to_bytes())
        draft.replace(to / RECEIPT)


def _sequence_of(to: Path) -> int:
    held = Receipt.of(to)
    return held.sequence if held else 0


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[Path]:
    """Create `directory` and lock it for one delivery at a time. The kernel releases the lock of a dead process."""
    while True:
        directory.mkdir(exist_ok=True)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # the previous holder removed it in between
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not directory.exists() or not os.path.samestat(os.fstat(descriptor), directory.stat()):
                continue  # the previous holder removed it: the lock is on a directory without a name
            yield directory
            return
        finally:
            os.close(descriptor)


def _check_target(to: Path) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise BadInputError(f"{to} is not a directory; choose one that does not exist, or one from an earlier pull")
    if to.is_dir() and any(to.iterdir()) and not (to / RECEIPT).is_file():
        raise BadInputError(f"{to} holds files that were not pulled; choose another directory")


def _is_delivered(to: Path, files: dict[str, ObjectRef], receipt: Receipt) -> bool:
    """Whether `to` has these files and this receipt, its sequence aside."""
    held = Receipt.of(to)
    if held is None or replace(held, sequence=0) != replace(receipt, sequence=0):
        return False
    if {path.name for path in to.iterdir()} != {*files, RECEIPT}:
        return False
    return all(digest_of_file(to / name) == ref.digest for name, ref in files.items())


def _remove(path: Path) -> None:
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
