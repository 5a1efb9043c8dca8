"""Canonical JSON: one byte string for each value, identified by its SHA-256 digest.

Sorted keys, no insignificant spaces, UTF-8, finite numbers only. `parse` accepts canonical bytes and nothing else, so
that equal values have equal digests and no byte of a stored document can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of `value`.

    Raises:
        BadInputError: `value` has no JSON form: NaN, infinities, foreign types, lone surrogates.
    """
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise BadInputError(f"not JSON-serializable: {error}") from None


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes, *, name: str) -> dict[str, Any]:
    """Return the object with the canonical bytes `data`: the inverse of `canonical`.

    Raises:
        IntegrityError: `data` is not the canonical JSON of an object. The message begins with `name`.
    """
    try:
        value = json.loads(data)
        if isinstance(value, dict) and canonical(value) == data:
            return value
    except (ValueError, RecursionError, BadInputError):
        pass
    raise IntegrityError(f"{name} is damaged: not canonical JSON; restore it from a backup")
