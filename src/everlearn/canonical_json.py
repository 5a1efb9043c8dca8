"""Documents of the registry: JSON in one canonical form, known by the digest of its bytes, sealed by a signature.

    {"content": {"format": 1, "line": "integration", "purpose": "event", …}, "signature": {…} | null}

The signature covers the content's canonical bytes, which name the line and the purpose, so that a document of one
line, or of another kind, proves nothing elsewhere. Readers refuse bytes that are not canonical: no byte is free.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Protocol

from everlearn.errors import BadInputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1


class Signer(Protocol):
    """Whoever can sign for a line."""

    def sign(self, message: bytes) -> dict[str, str]:
        """Algorithm, key and value of a signature over `message`."""
        ...


class Verifier(Protocol):
    """Whoever decides which signatures count."""

    def check(self, message: bytes, signature: dict[str, str] | None, *, name: str) -> None:
        """Raise IntegrityError, naming the document, unless the signature counts."""
        ...


def canonical(value: Mapping[str, Any]) -> bytes:
    """The one spelling of `value`: sorted keys, no spaces, UTF-8. BadInputError for what JSON cannot say: NaN, infinities."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise BadInputError(f"this cannot be written down for ever: {error}") from None


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal: the name of immutable bytes."""
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes, *, name: str) -> dict[str, Any]:
    """Inverse of `canonical`. IntegrityError for anything but the canonical bytes of an object."""
    try:
        value = json.loads(data)
        if isinstance(value, dict) and canonical(value) == data:
            return value
    except (ValueError, RecursionError, BadInputError):
        pass
    raise IntegrityError(f"{name} is damaged: it is not the JSON that was written; restore it from a backup")


def seal(content: Mapping[str, Any], *, purpose: str, line: str, signer: Signer | None) -> bytes:
    """The bytes of a document, signed if there is somebody to sign."""
    whole = {**content, "format": FORMAT, "line": line, "purpose": purpose}
    return canonical({"content": whole, "signature": signer.sign(canonical(whole)) if signer else None})


def unseal(data: bytes, *, purpose: str, line: str, verifier: Verifier, name: str) -> dict[str, Any]:
    """The content of a document, verified. IntegrityError if it is damaged, unsigned, or meant for another place."""
    document = parse(data, name=name)
    content = document.get("content")
    if set(document) != {"content", "signature"} or not isinstance(content, dict):
        raise IntegrityError(f"{name} is no document of a registry")
    rest = b',"signature":' + canonical(document["signature"]) + b"}"
    verifier.check(data[len(b'{"content":') : -len(rest)], document["signature"], name=name)
    found = (content.pop("format", None), content.pop("line", None), content.pop("purpose", None))
    if found != (FORMAT, line, purpose):
        raise IntegrityError(f"{name} is meant for another place: {found} instead of {(FORMAT, line, purpose)}")
    return content
