"""From settings to the line that they name: the store, and the registry in it, as every process opens them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from everlearn.errors import StoreDownError
from everlearn.registry import signing
from everlearn.registry.versions import Registry
from everlearn.storage.retrying import RetryingStore
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from everlearn.registry.sealed_document import Verifier
    from everlearn.settings import Settings, StoreSettings
    from everlearn.storage.protocol import Store


def open_store(settings: StoreSettings, *, timeout_s: float = 60.0) -> S3Store:
    """The bucket. StoreDownError when no server is named: `everlearn up` starts one and names it."""
    if settings.endpoint_url is None:
        raise StoreDownError("no S3 server is running here: run `everlearn up`, or set store.endpoint_url")
    return S3Store(settings.bucket, endpoint_url=settings.endpoint_url, region=settings.region, timeout_s=timeout_s)


def open_patiently(settings: StoreSettings) -> RetryingStore:
    """The same for work that nobody watches: it waits for a server that does not answer."""
    return RetryingStore(open_store(settings))


def open_verifier(settings: Settings) -> Verifier:
    """Whose signatures count. No private key is needed, only who is trusted."""
    chosen = settings.signing
    return signing.trust(key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned)[1]


def open_registry(settings: Settings, *, store: Store | None = None) -> Registry:
    """The line's versions, signed and verified as the settings say. Nothing is read or written yet."""
    chosen = settings.signing
    signer, verifier = signing.trust(key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned)
    return Registry(
        store or open_store(settings.store),
        settings.store.line,
        clock=lambda: datetime.now(tz=UTC),
        signer=signer,
        verifier=verifier,
        heartbeat_lifetime=timedelta(seconds=settings.retention.lease_seconds),
    )
