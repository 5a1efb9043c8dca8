"""Certificates of domains in a line's bucket: signed documents, found by the domain and the version of its code.

    <line>/certificates/<digest of domain, code and procedure>.json

A newer certificate of the same code replaces an older one. Versions keep a copy of theirs as an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.canonical_json import canonical, digest_of
from everlearn.errors import NotFoundError
from everlearn.registry.sealed_document import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everlearn.registry.sealed_document import Signer, Verifier
    from everlearn.storage.protocol import Store

PURPOSE = "certificate"


class CertificateStore:
    """The certificates of `line` in `store`. Without a `signer` they are written unsigned."""

    def __init__(self, store: Store, line: str, *, signer: Signer | None, verifier: Verifier) -> None:
        self._store, self._line, self._signer, self._verifier = store, line, signer, verifier

    def require_store(self) -> None:
        """Raise StoreError unless the bucket answers."""
        self.find("", code="", procedure=0)

    def put(self, content: Mapping[str, Any]) -> str:
        """Store a certificate, which names its `domain`, `code` and `procedure`. Return its key.

        Raises:
            IntegrityError: nobody would trust it, as it is not signed with a trusted key. Nothing was stored.
        """
        key = self.key(str(content["domain"]), code=str(content["code"]), procedure=int(content["procedure"]))
        sealed = seal(content, purpose=PURPOSE, line=self._line, signer=self._signer)
        unseal(sealed, purpose=PURPOSE, line=self._line, verifier=self._verifier, name=key)
        self._store.put(key, sealed)
        return key

    def find(self, domain: str, *, code: str, procedure: int) -> dict[str, Any] | None:
        """Return the certificate of that code, verified; None if there is none.

        Raises:
            IntegrityError: it is damaged, or not signed with a trusted key.
        """
        key = self.key(domain, code=code, procedure=procedure)
        try:
            data = self._store.get(key).data
        except NotFoundError:
            return None
        return unseal(data, purpose=PURPOSE, line=self._line, verifier=self._verifier, name=key)

    def document(self, domain: str, *, code: str, procedure: int) -> bytes:
        """Return the signed bytes of a certificate that is there. Raises NotFoundError."""
        return self._store.get(self.key(domain, code=code, procedure=procedure)).data

    def key(self, domain: str, *, code: str, procedure: int) -> str:
        """Return the key of the certificate of that code."""
        named = digest_of(canonical({"domain": domain, "code": code, "procedure": procedure}))
        return f"{self._line}/certificates/{named}.json"
