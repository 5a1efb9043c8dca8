"""Open the store and the registry that the settings name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from everlearn.errors import StoreDownError
from everlearn.registry import signing
from everlearn.registry.certificates import CertificateStore
from everlearn.registry.versions import Registry
from everlearn.storage.retrying import RetryingStore
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.settings import Settings, StoreSettings
    from everlearn.storage.protocol import Store


def open_store(settings: StoreSettings, *, timeout_s: float = 60.0) -> S3Store:
    """Return the bucket. Raises StoreDownError if no server is configured."""
    if settings.endpoint_url is None:
        raise StoreDownError(
            "no S3 server is running here: run `everlearn up`, or set store.endpoint_url (https://s3.REGION.amazonaws.com for AWS)"
        )
    return S3Store(settings.bucket, endpoint_url=settings.endpoint_url, region=settings.region, timeout_s=timeout_s)


def open_retrying_store(settings: StoreSettings) -> RetryingStore:
    """Return the bucket for unattended work: requests are retried while the server does not answer."""
    return RetryingStore(open_store(settings))


def open_verifier(settings: Settings) -> Verifier:
    """Return the verifier of the trusted keys. Needs no private key."""
    return _keys(settings)[1]


def open_registry(settings: Settings, *, store: Store | None = None) -> Registry:
    """Return the registry of the configured line. Nothing is read or written yet."""
    signer, verifier = _keys(settings)
    return Registry(
        store or open_store(settings.store),
        settings.store.line,
        clock=lambda: datetime.now(tz=UTC),
        signer=signer,
        verifier=verifier,
        heartbeat_lifetime=timedelta(seconds=settings.retention.lease_seconds),
    )


def open_certificates(settings: Settings, *, store: Store | None = None) -> CertificateStore:
    """Return the certificates of the configured line. Nothing is read or written yet."""
    signer, verifier = _keys(settings)
    return CertificateStore(store or open_store(settings.store), settings.store.line, signer=signer, verifier=verifier)


def _keys(settings: Settings) -> tuple[Signer | None, Verifier]:
    """Return the signer, if there is a private key, and the verifier that the settings name."""
    chosen = settings.signing
    return signing.signer_and_verifier(key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned)
