"""Look up a night of the history by a version that it made, or by the beginning of its cycle key, as git does.

Nights without a version (rejected, insufficient, without new data) have nothing but their cycle key. Pure rules over
`State`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from everlearn.errors import RegistryError
from everlearn.registry.eligibility import CHAMPION, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everlearn.registry.events import Event
    from everlearn.registry.line_state import State, VersionEntry

SHOWN = 8
"""Characters of a cycle key that are shown: unique in practice, and short enough for a table."""

MIN_PREFIX = 4
LISTED = 5
_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},64}}")


def find_night(ref: str, state: State, *, line: str) -> VersionEntry | Event:
    """Return the version that `ref` names or that its cycle published, else the event that ended the cycle.

    `ref` is `v0007`, `champion`, or at least four characters of a cycle key that begin no other one.

    Raises:
        RegistryError: `ref` names nothing, or several nights. The message lists candidates.
    """
    if ref == CHAMPION or ref in state.versions:
        return resolve(ref, state, line=line)
    found = [key for key in state.cycles if _PREFIX.fullmatch(ref) and key.startswith(ref)]
    if len(found) > 1:
        raise RegistryError(f"{ref!r} begins {len(found)} cycles; give more of it: {describe_nights(state, found)}")
    if not found:
        versions = ", ".join([*state.versions][-LISTED:]) or "none yet"
        nights = describe_nights(state, state.cycles) or "none yet"
        raise RegistryError(
            f"line {line} has neither a version nor a cycle {ref!r}; the latest versions: {versions}; "
            f"the latest nights: {nights}"
        )
    return state.version_of(found[0]) or state.cycles[found[0]]


def describe_nights(state: State, keys: Iterable[str]) -> str:
    """Return the newest nights of these cycles, the newest last: `3f9c0a71 (rejected), …`."""
    events = sorted((state.cycles[key] for key in keys), key=lambda event: event.sequence)
    return ", ".join(f"{str(event.cycle_key)[:SHOWN]} ({_describe(event)})" for event in events[-LISTED:])


def _describe(event: Event) -> str:
    version = event.detail.get("version")
    return f"{event.kind} {version}" if version else str(event.kind).replace("_", " ")
