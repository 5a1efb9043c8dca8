"""What the registry asks of a store, promise by promise, each proved on a canary and not believed.

A store that breaks a FATAL promise is not published to: there, two publishers could overwrite each other. The others
cost something smaller, which is said.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage.protocol import CANARY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everlearn.storage.protocol import Store

CREATE, UPDATE, PARTS = "conditional create", "conditional update", "condition on uploads in parts"
BYTES, CHECKSUMS, LISTING, CLOCK = "same bytes", "checksums", "listing", "clock"
FATAL = (CREATE, UPDATE, PARTS, BYTES)
SLACK = timedelta(seconds=5)


class BrokenPromiseError(Exception):
    """What a store does instead; never leaves `everlearn.storage.protocol`."""


def examine(store: Store, *, more: Mapping[str, Callable[[Store, str], None]] | None = None) -> dict[str, str | None]:
    """Try every promise, and those in `more`, on a canary of its own; what is wrong by name, None where it is kept.

    Raises StoreDownError when the store does not answer at all: then nothing was found out.
    """
    trials = {CREATE: _create, UPDATE: _update, BYTES: _bytes, CHECKSUMS: _checksums, LISTING: _listing, CLOCK: _clock}
    return {name: _tried(trial, store) for name, trial in {**trials, **(more or {})}.items()}


def demand(found: Mapping[str, str | None], *, place: str) -> None:
    """StoreError for the first fatal promise that is broken; `place` names the store in it."""
    fault = next((found[name] for name in FATAL if found.get(name)), None)
    if fault is not None:
        raise StoreError(
            f"{place} {fault}: two publishers could overwrite each other there. "
            "Use a server that keeps conditional writes (AWS S3, or the one of `everlearn up`)."
        )


def refused(write: Callable[[], object], fault: str) -> None:
    """See a write refused."""
    try:
        write()
    except (ConflictError, NotFoundError):
        return
    raise BrokenPromiseError(fault)


def _tried(trial: Callable[[Store, str], None], store: Store) -> str | None:
    key = f"{CANARY_PREFIX}/{uuid.uuid4().hex}"
    try:
        trial(store, key)
    except BrokenPromiseError as error:
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
    refused(lambda: store.create(key, b"other"), "overwrites an object in spite of If-None-Match")


def _update(store: Store, key: str) -> None:
    first = store.create(key, b"first")
    second = store.replace(key, b"second", etag=first)
    refused(lambda: store.replace(key, b"third", etag=first), "overwrites newer bytes in spite of If-Match")
    refused(lambda: store.replace(key + "-", b"x", etag=second), "creates an object in spite of If-Match")


def _bytes(store: Store, key: str) -> None:
    etag = store.create(key, b"first")
    store.replace(key, b"second", etag=etag)
    if store.get(key).data != b"second" or b"".join(store.read(key, start=3)) != b"ond":
        raise BrokenPromiseError("returns other bytes than were written")


def _checksums(store: Store, key: str) -> None:
    store.create(key, b"first")
    if store.head(key).sha256 is None:
        raise BrokenPromiseError("keeps no SHA-256: a rollback cannot tell damage without reading every byte")


def _listing(store: Store, key: str) -> None:
    store.create(key, b"first")
    if [info.key for info in store.list(key)] != [key]:
        raise BrokenPromiseError("does not list what was just written: `everlearn gc` must not be run there")
    store.delete(key)
    if list(store.list(key)):
        raise BrokenPromiseError("lists what was just deleted: `everlearn fsck` will name what is not there")


def _clock(store: Store, key: str) -> None:
    before = store.now()
    store.create(key, b"first")
    modified = store.head(key).modified
    if not before - SLACK <= modified <= store.now() + SLACK:
        raise BrokenPromiseError(
            f"dates a new object {modified:%H:%M:%S} while its clock says {before:%H:%M:%S}: `everlearn gc` must not be run there"
        )
