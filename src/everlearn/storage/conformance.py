"""Conformance checks: what the registry requires of a store, each tested on a probe object of its own.

The registry does not publish to a store that fails a REQUIRED check: two publishers could overwrite each other. The
other faults limit single commands, which the fault names.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage.protocol import PROBE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everlearn.storage.protocol import Store

CREATE, UPDATE, PARTS = "conditional create", "conditional update", "condition on uploads in parts"
BYTES, CHECKSUMS, LISTING, CLOCK = "same bytes", "checksums", "listing", "clock"
REQUIRED = (CREATE, UPDATE, PARTS, BYTES)
CLOCK_TOLERANCE = timedelta(seconds=5)


class FailedCheckError(Exception):
    """A check failed. Raised by checks and caught in this module."""


def run_checks(
    store: Store, *, extra_checks: Mapping[str, Callable[[Store, str], None]] | None = None
) -> dict[str, str | None]:
    """Run all checks; return the fault, or None, by the name of the check.

    A check receives the store and the key of its probe object. Raises StoreDownError if the store does not answer:
    then nothing is known about it.
    """
    checks = {CREATE: _create, UPDATE: _update, BYTES: _bytes, CHECKSUMS: _checksums, LISTING: _listing, CLOCK: _clock}
    return {name: _run(check, store) for name, check in {**checks, **(extra_checks or {})}.items()}


def require(faults: Mapping[str, str | None], *, location: str) -> None:
    """Raise StoreError for the first REQUIRED check that failed; `location` names the store in the message."""
    fault = next((faults[name] for name in REQUIRED if faults.get(name)), None)
    if fault is not None:
        raise StoreError(
            f"{location} {fault}: two publishers could overwrite each other there. "
            "Use a server with reliable conditional writes (AWS S3, or the server that `everlearn up` starts)."
        )


def expect_refusal(write: Callable[[], object], fault: str) -> None:
    """Raise FailedCheckError with `fault` unless the store refuses the write."""
    try:
        write()
    except (ConflictError, NotFoundError):
        return
    raise FailedCheckError(fault)


def _run(check: Callable[[Store, str], None], store: Store) -> str | None:
    key = f"{PROBE_PREFIX}/{uuid.uuid4().hex}"
    try:
        check(store, key)
    except FailedCheckError as error:
        return str(error)
    except StoreDownError:
        raise
    except StoreError as error:
        return f"fails: {error}"
    finally:
        with contextlib.suppress(StoreError):
            store.delete(key)
    return None


def _create(store: Store, key: str) -> None:
    store.create(key, b"first")
    expect_refusal(lambda: store.create(key, b"other"), "overwrites an object in spite of If-None-Match")


def _update(store: Store, key: str) -> None:
    first = store.create(key, b"first")
    second = store.replace(key, b"second", etag=first)
    expect_refusal(lambda: store.replace(key, b"third", etag=first), "overwrites newer bytes in spite of If-Match")
    expect_refusal(lambda: store.replace(key + "-", b"x", etag=second), "creates an object in spite of If-Match")


def _bytes(store: Store, key: str) -> None:
    etag = store.create(key, b"first")
    store.replace(key, b"second", etag=etag)
    if store.get(key).data != b"second" or b"".join(store.read(key, start=3)) != b"ond":
        raise FailedCheckError("returns other bytes than were written")


def _checksums(store: Store, key: str) -> None:
    store.create(key, b"first")
    if store.head(key).sha256 is None:
        raise FailedCheckError("holds no SHA-256: a rollback cannot detect damage without reading every byte")


def _listing(store: Store, key: str) -> None:
    store.create(key, b"first")
    if [info.key for info in store.list(key)] != [key]:
        raise FailedCheckError("does not list what was just written: `everlearn gc` must not be run there")
    store.delete(key)
    if list(store.list(key)):
        raise FailedCheckError("lists what was just deleted: `everlearn fsck` will name objects that do not exist")


def _clock(store: Store, key: str) -> None:
    before = store.now()
    store.create(key, b"first")
    modified = store.head(key).modified
    if not before - CLOCK_TOLERANCE <= modified <= store.now() + CLOCK_TOLERANCE:
        raise FailedCheckError(
            f"dates a new object {modified:%H:%M:%S} while its clock shows {before:%H:%M:%S}: "
            "`everlearn gc` must not be run there"
        )
