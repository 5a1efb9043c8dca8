from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import StoreDownError
from everlearn.registry.connect import open_registry, open_retrying_store, open_store, open_verifier
from everlearn.registry.signing import Unsigned, create_key
from everlearn.settings import Settings
from everlearn.storage.in_memory import MemoryStore
from everlearn.storage.retrying import RetryingStore
from tests.support.line import publish

if TYPE_CHECKING:
    from pathlib import Path


def settings_of(**sections: dict[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_store_needs_an_endpoint() -> None:
    with pytest.raises(StoreDownError, match=r"run `everlearn up`, or set store\.endpoint_url"):
        open_store(settings_of(store={}).store)


def test_store_is_the_configured_bucket() -> None:
    settings = settings_of(store={"endpoint_url": "http://127.0.0.1:1", "bucket": "models"})
    assert open_store(settings.store).bucket == "models"
    assert isinstance(open_retrying_store(settings.store), RetryingStore)


def test_registry_signs_with_the_configured_key(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "key.pem")
    settings = settings_of(
        store={"line": "algebra"},
        signing={"key_file": str(tmp_path / "key.pem")},
        retention={"lease_seconds": 30.0},
    )
    line = open_registry(settings, store=MemoryStore())
    assert (line.line, line.heartbeat_lifetime) == ("algebra", timedelta(seconds=30))
    open_verifier(settings).check(b"message", signer.sign(b"message"), name="it")
    publish(line, "one")
    assert datetime.now(tz=UTC) - line.state().history[0].at < timedelta(minutes=5)


def test_unsigned_line_has_an_unsigned_verifier() -> None:
    assert isinstance(open_verifier(settings_of(signing={"unsigned": True})), Unsigned)
