"""What the history of a line allows: which version is meant, and whether a night may still publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.errors import RegistryError, StaleParentError

if TYPE_CHECKING:
    from everlearn.registry.events import Event, EventKind, State, VersionEntry
    from everlearn.registry.manifest import Manifest

CHAMPION = "champion"


def resolve(ref: str, state: State, *, line: str) -> VersionEntry:
    """The version that is meant by its name, or by "champion". RegistryError if there is none."""
    version = state.champion if ref == CHAMPION else ref
    if version is None:
        raise RegistryError(f"line {line} has no champion: the base model alone is in use; run `everlearn cycle`")
    if version not in state.versions:
        known = ", ".join(list(state.versions)[-5:]) or "none yet"
        raise RegistryError(f"line {line} has no version {version!r}; the latest are: {known}")
    return state.versions[version]


def check_kept(entry: VersionEntry) -> None:
    """RegistryError if its files are gone."""
    if entry.retired:
        raise RegistryError(f"{entry.version} is retired: its files are kept no longer; choose another version")


def ended(state: State, cycle_key: str, kind: EventKind) -> Event | None:
    """The end of this cycle, if it has ended. RegistryError if it ended in another way."""
    event = state.cycles.get(cycle_key)
    if event is not None and event.kind is not kind:
        raise RegistryError(f"cycle {cycle_key[:12]} ended as {event.kind} before (event {event.sequence}), not {kind}")
    return event


def check_candidate(manifest: Manifest, state: State, *, make_champion: bool, line: str) -> None:
    """StaleParentError where the line has moved since the night began; RegistryError for another base model."""
    parent = None if manifest.parent is None else resolve(manifest.parent, state, line=line)
    if parent is not None and parent.retired:
        raise StaleParentError(f"the night began at {parent.version}, which is retired since; run another cycle")
    if parent is not None and parent.barred:
        raise StaleParentError(f"the night began at {parent.version}, which is barred since; run another cycle")
    if make_champion and manifest.parent != state.champion:
        began, now = manifest.parent or "the base model", state.champion or "the base model"
        raise StaleParentError(f"the night began at {began}, but {now} is champion now; run another cycle from there")
    first = next(iter(state.versions.values()), None)
    if first is not None and first.base_fingerprint != manifest.base_fingerprint:
        raise RegistryError(f"line {line} belongs to another base model; publish under a line of its own (store.line)")
