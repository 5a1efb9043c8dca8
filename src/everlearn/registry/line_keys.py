"""Keys of a line's signed documents in the bucket. Those of objects are in `storage.immutable_objects`."""

from __future__ import annotations

import re

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in hexadecimal digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def event_key(line: str, digest: str) -> str:
    """Return the key of the event with that digest."""
    return f"{line}/events/{digest}.json"


def manifest_key(line: str, digest: str) -> str:
    """Return the key of the manifest with that digest."""
    return f"{line}/manifests/{digest}.json"
