"""Identity of a base model, as text in manifests, events and cycle inputs: digests by the number of their scheme.

    "<hex>"                        scheme 1, of release 0.1.0 before schemes had numbers
    "2:<hex> 1:<hex>"              every scheme that the writer knows, the newest first

A scheme decides which files enter the digest (`training.models.fingerprint`). Two identities are compared by the newest
scheme that both have, so that versions of an older revision stay usable and newer ones are compared more strictly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_SCHEME = 1


def to_identity(digests: Mapping[int, str]) -> str:
    """Return the text for digests by scheme."""
    return " ".join(f"{scheme}:{digests[scheme]}" for scheme in sorted(digests, reverse=True))


def from_identity(identity: str) -> dict[int, str]:
    """Return the digests by scheme: the inverse of `to_identity`."""
    parts = (part.rpartition(":") for part in identity.split())
    return {int(scheme or FIRST_SCHEME): digest for scheme, _, digest in parts}


def describe_base(config: Mapping[str, Any]) -> str | None:
    """Return the base model that frozen settings name: a model with its commit, or a folder; None for other settings."""
    base = config.get("base") or {}
    if base.get("model"):
        return f"{base['model']} at commit {str(base.get('commit'))[:12]}"
    return str(base["path"]) if base.get("path") else None


def newest_digest(identity: str) -> str:
    """Return the digest of the newest scheme."""
    digests = from_identity(identity)
    return digests[max(digests)]


def is_same_base(one: str, other: str) -> bool:
    """Return whether two identities agree in the newest scheme that both have."""
    mine, theirs = from_identity(one), from_identity(other)
    shared = mine.keys() & theirs.keys()
    return bool(shared) and mine[max(shared)] == theirs[max(shared)]
