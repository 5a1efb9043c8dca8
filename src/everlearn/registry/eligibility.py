"""Eligibility: which versions the history allows to be published, promoted, rolled back to or delivered.

Pure rules over `State`. Whether the stored bytes of a version are intact is checked by `content_store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.errors import IntegrityError, RegistryError, StaleParentError
from everlearn.registry.base_identity import is_same_base, newest_digest
from everlearn.registry.line_state import BASE

if TYPE_CHECKING:
    from everlearn.registry.delivery import Receipt
    from everlearn.registry.events import Event, EventKind
    from everlearn.registry.line_state import State, VersionEntry
    from everlearn.registry.manifest import Manifest

CHAMPION = "champion"
PASSED = "PASS"
"""The outcome in the decision of a manifest with which it may be published."""
ANOTHER_CYCLE = (
    "run another cycle: it begins at the present champion, and the problems of this night are still available"
)


def resolve(ref: str, state: State, *, line: str) -> VersionEntry:
    """Return the version that `ref` ("v0007" or "champion") names. Raises RegistryError if there is none."""
    version = state.champion if ref == CHAMPION else ref
    if version is None:
        raise RegistryError(f"line {line} has no champion: the base model alone is in use; run `everlearn cycle`")
    if version not in state.versions:
        known = ", ".join(list(state.versions)[-5:]) or "none yet"
        raise RegistryError(f"line {line} has no version {version!r}; the latest are: {known}")
    return state.versions[version]


def require_age(state: State, *, at_least: int, seen: Receipt | None, line: str) -> None:
    """Raise IntegrityError if HEAD is older than a history that was seen before: `at_least` events, or those of a delivery."""
    if seen is not None and seen.line == line:
        at_least = max(at_least, seen.sequence)
    if state.sequence < at_least:
        raise IntegrityError(
            f"{line}/HEAD is older than it must be: {state.sequence} events, but {at_least} were seen before; "
            "an old HEAD was put back: run `everlearn fsck`"
        )


def require_files(entry: VersionEntry) -> None:
    """Raise RegistryError if the version is retired, so that its files may be gone."""
    if entry.retired:
        raise RegistryError(f"{entry.version} is retired: its files were removed; choose another version")


def is_flagged(entry: VersionEntry, state: State) -> bool:
    """Return whether the version's data is flagged for review, and no barred version was trained on it."""
    of_data = [each for each in state.versions.values() if each.data_digest == entry.data_digest]
    return entry.data_digest in state.flagged and not any(each.barred for each in of_data)


def require_unbarred(entry: VersionEntry, state: State) -> None:
    """Raise RegistryError if the version was rolled back or refused."""
    if entry.barred:
        good = [each for each in state.versions if not state.versions[each].barred]
        raise RegistryError(
            f"{entry.version} is barred; not barred: {', '.join(good) or 'none, but base'}; "
            f"`everlearn unbar {entry.version}` lifts that"
        )


def require_promotable(entry: VersionEntry, state: State) -> None:
    """Check that a version may become champion.

    Raises:
        RegistryError: It is retired or barred; or its parent was barred since, whose learning it carries. A version that was
            champion before its parent was barred can be returned to.
    """
    require_files(entry)
    require_unbarred(entry, state)
    parent = state.versions.get(entry.parent or BASE)
    if parent is not None and parent.barred and entry.version not in state.ever_champion:
        raise RegistryError(
            f"{entry.version} was trained from {parent.version}, which was barred since: refuse it with `everlearn approve "
            f"{entry.version} --refuse`, or lift the bar with `everlearn unbar {parent.version}`"
        )


def require_candidate(manifest: Manifest, state: State, *, make_champion: bool, line: str) -> None:
    """Check that a candidate may be published.

    Raises:
        StaleParentError: as `require_parent` does.
        RegistryError: Its decision says that it did not pass, or it was trained on another base model than the versions of this line.
    """
    outcome = manifest.decision.get("outcome", PASSED)
    if outcome != PASSED:
        raise RegistryError(
            f"the decision about the candidate of cycle {manifest.cycle_key[:12]} says {outcome}: only {PASSED} is published"
        )
    require_parent(manifest.parent, state, make_champion=make_champion, line=line)
    require_base(manifest.base_fingerprint, state, line=line)


def require_base(identity: str, state: State, *, line: str) -> None:
    """Raise RegistryError if a version of the line was trained on another base model."""
    for entry in state.versions.values():
        if not is_same_base(entry.base_fingerprint, identity):
            raise RegistryError(
                f"line {line} belongs to another base model: {entry.version} was trained on "
                f"{newest_digest(entry.base_fingerprint)[:16]}, this is {newest_digest(identity)[:16]}; set base.path to "
                "that model, or use another line (store.line)"
            )


def require_parent(name: str | None, state: State, *, make_champion: bool, line: str) -> None:
    """Check that a night which began at the version `name` (None: the base model) can still publish.

    Raises:
        StaleParentError: The parent was retired or barred since the night began, or, if the night's version is to become
            champion, another version has become champion.
    """
    parent = None if name is None else resolve(name, state, line=line)
    if parent is not None and parent.retired:
        raise StaleParentError(f"the night began at {parent.version}, which was retired since; {ANOTHER_CYCLE}")
    if parent is not None and parent.barred:
        raise StaleParentError(f"the night began at {parent.version}, which was barred since; {ANOTHER_CYCLE}")
    if make_champion and name != state.champion:
        start, now = name or "the base model", state.champion or "the base model"
        raise StaleParentError(f"the night began at {start}, but {now} is champion now; {ANOTHER_CYCLE}")


def ended(state: State, cycle_key: str, kind: EventKind) -> Event | None:
    """Return the event of `kind` that ended a cycle; None if it is open. Raises RegistryError for another kind."""
    event = state.cycles.get(cycle_key)
    if event is not None and event.kind is not kind:
        raise RegistryError(f"cycle {cycle_key[:12]} ended as {event.kind} before (event {event.sequence}), not {kind}")
    return event


def rollback_target(to: str | None, state: State, *, left: str | None, line: str) -> VersionEntry | None:
    """Return the version to roll back to: `to`, or by default the last good champion; None is the base model.

    `left` is the champion when the rollback was requested.

    Raises:
        RegistryError: There is no champion, it has changed since the request, or `to` is the champion or unknown.
    """
    if left is None:
        raise RegistryError(f"line {line}: the base model alone is in use; there is nothing to roll back")
    if state.champion != left:
        now = state.champion or "the base model"
        raise RegistryError(f"{left} is no longer champion, {now} is: another writer was first; check the history")
    if to == BASE or (to is None and state.last_good is None):
        return None
    entry = resolve(to or str(state.last_good), state, line=line)
    if entry.version == left:
        raise RegistryError(f"{left} is the champion already; name an earlier version, or none for the last good one")
    return entry


def require_waiting(entry: VersionEntry, state: State) -> None:
    """Raise RegistryError unless the version awaits approval."""
    if entry.version not in state.waiting:
        raise RegistryError(
            f"{entry.version} does not await approval; use `everlearn rollback` to take back a champion"
        )


def require_not_champion(entry: VersionEntry, state: State) -> None:
    """Raise RegistryError if the version is the champion."""
    if entry.version == state.champion:
        raise RegistryError(f"{entry.version} is the champion; `everlearn rollback` takes it back and bars it")
