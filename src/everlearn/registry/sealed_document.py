"""Sealed documents: signed canonical JSON, the form of events, manifests and snapshots.

    {"content": {"format": 1, "line": "integration", "purpose": "event", …}, "signature": {…} | null}

The signature covers the canonical bytes of `content`, which include the line and the purpose: a document copied to
another line, or presented as another kind, fails verification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from everlearn.canonical_json import canonical, parse
from everlearn.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1


class Signer(Protocol):
    """Signs the documents of a line."""

    def sign(self, message: bytes) -> dict[str, str]:
        """Return algorithm, public key and value of a signature over `message`."""
        ...


class Verifier(Protocol):
    """Decides which signatures are trusted."""

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Raise IntegrityError, with the document's `name`, unless `signature` over `message` is trusted."""
        ...


def seal(content: Mapping[str, Any], *, purpose: str, line: str, signer: Signer | None) -> bytes:
    """Return the bytes of a document, unsigned if `signer` is None."""
    whole = {**content, "format": FORMAT, "line": line, "purpose": purpose}
    return canonical({"content": whole, "signature": signer.sign(canonical(whole)) if signer else None})


def unseal(data: bytes, *, purpose: str, line: str, verifier: Verifier, name: str) -> dict[str, Any]:
    """Return the verified content of a document.

    Raises:
        IntegrityError: The document is damaged, its signature is not trusted, or line, purpose or format differ.
    """
    document = parse(data, name=name)
    content = document.get("content")
    if set(document) != {"content", "signature"} or not isinstance(content, dict):
        raise IntegrityError(f"{name} is not a registry document: expected the keys content and signature")
    # The bytes are canonical and "content" sorts first, so the signed message is a slice: no second serialization.
    rest = b',"signature":' + canonical(document["signature"]) + b"}"
    verifier.check(data[len(b'{"content":') : -len(rest)], document["signature"], name=name)
    place = (content.pop("format", None), content.pop("line", None), content.pop("purpose", None))
    if place != (FORMAT, line, purpose):
        raise IntegrityError(
            f"{name} belongs elsewhere: format, line and purpose are {place}, expected {(FORMAT, line, purpose)}"
        )
    return content
