"""Certificates in a bucket: signed, found by code, and refused where they were changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.errors import IntegrityError, NotFoundError
from everlearn.registry import signing
from everlearn.registry.certificates import CertificateStore
from everlearn.storage.in_memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {"domain": "gym/chain_sum", "code": "ab" * 32, "procedure": 1, "guess_rate": 0.01}


@pytest.fixture
def kept(tmp_path: Path) -> CertificateStore:
    signer = signing.create_key(tmp_path / "key.pem")
    return CertificateStore(MemoryStore(), "line", signer=signer, verifier=signing.Ed25519Verifier([signer.key]))


def test_a_certificate_is_found_by_domain_code_and_procedure(kept: CertificateStore) -> None:
    kept.require_store()
    assert kept.find("gym/chain_sum", code="ab" * 32, procedure=1) is None
    key = kept.put(CONTENT)
    assert key.startswith("line/certificates/")
    assert kept.find("gym/chain_sum", code="ab" * 32, procedure=1) == CONTENT
    assert b"gym/chain_sum" in kept.document("gym/chain_sum", code="ab" * 32, procedure=1)
    assert kept.find("gym/chain_sum", code="cd" * 32, procedure=1) is None
    assert kept.find("gym/chain_sum", code="ab" * 32, procedure=2) is None
    with pytest.raises(NotFoundError):
        kept.document("gym/other", code="ab" * 32, procedure=1)


def test_a_changed_certificate_is_refused(kept: CertificateStore) -> None:
    key = kept.put(CONTENT | {"guess_rate": 0.9})
    store = kept._store
    store.put(key, store.get(key).data.replace(b"0.9", b"0.0"))
    with pytest.raises(IntegrityError, match="changed after it was signed"):
        kept.find("gym/chain_sum", code="ab" * 32, procedure=1)


def test_a_certificate_that_nobody_would_trust_is_not_stored(kept: CertificateStore) -> None:
    without_key = CertificateStore(kept._store, "line", signer=None, verifier=kept._verifier)
    with pytest.raises(IntegrityError, match="is not signed"):
        without_key.put(CONTENT)
    assert kept.find("gym/chain_sum", code="ab" * 32, procedure=1) is None


def test_a_newer_certificate_of_the_same_code_replaces_the_older(kept: CertificateStore) -> None:
    kept.put(CONTENT)
    kept.put(CONTENT | {"guess_rate": 0.5})
    found = kept.find("gym/chain_sum", code="ab" * 32, procedure=1)
    assert found is not None
    assert found["guess_rate"] == 0.5
