"""Open a night, or continue one that is open: its inputs and settings are frozen once, and every later run uses them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from everlearn.cycle.inputs import (
    CycleInputs,
    config_digest,
    cycle_key,
    freeze_inputs,
    freeze_settings,
    restore_settings,
)
from everlearn.cycle.record import End, close_cycle, current_cycle, open_cycle
from everlearn.cycle.resume_limit import count_resume
from everlearn.cycle.workspace import Workspace
from everlearn.errors import CycleError, StaleParentError
from everlearn.gate.abandonment import charge, is_abandoned
from everlearn.gate.consequences import becomes_champion
from everlearn.registry.connect import open_registry, open_store
from everlearn.registry.eligibility import require_base
from everlearn.telemetry import logs
from everlearn.training.models.fingerprint import fingerprint
from tasks.night import ACTOR, LOG, Night, step_task
from tasks.open_base import base_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.cycle.record import OpenCycle
    from everlearn.settings import Settings
    from tasks.ingest import ClaimedSnapshot


@step_task
def resume_night(settings: Settings, token: int) -> Night | None:
    """Return the night that an earlier run left open, with its frozen settings; None if no night is open.

    A night whose parent was barred meanwhile is abandoned: a new one can begin at once.

    Raises:
        CycleError: it was resumed too often at the same place.
    """
    opened = current_cycle(open_store(settings.store), settings.store.line)
    if opened is None:
        return None
    with logs.log_context(cycle=opened.key):
        LOG.info("resuming the night that was opened %s, cycle %s", opened.opened, opened.key[:12])
    night = _fenced(opened, settings, token)
    if is_abandoned(night.key, night.registry.state()):  # the run that gave it up was killed before it closed it
        close_cycle(night.store, opened, end=None)
        return None
    try:
        watch_parent(night)()
    except StaleParentError as error:
        LOG.warning("the open night is abandoned: %s", error)
        return None
    count_resume(night.work, counter="resumed")
    return night


@step_task
def join_night(settings: Settings, cycle_key: str, token: int) -> Night:
    """Return the night that another process opened and waits with, by its fencing token.

    Raises:
        CycleError: it is no longer open, or was resumed too often at the same place.
    """
    opened = current_cycle(open_store(settings.store), settings.store.line)
    if opened is None or opened.key != cycle_key:
        raise CycleError(f"the night with cycle {cycle_key[:12]} of line {settings.store.line} is no longer open")
    night = _fenced(opened, settings, token)
    count_resume(night.work, counter="climbed")
    return night


@step_task
def open_night(settings: Settings, token: int, claim: ClaimedSnapshot) -> Night:
    """Freeze the inputs and settings of a new night and return it.

    What a night with the same inputs left that was given up is removed: its suites hold problems that others have
    measured since, and follow from the settings of that time.
    """
    inputs = inputs_of(settings, data_digest=claim.data_digest)
    store, line, notes = open_store(settings.store), settings.store.line, freeze_settings(settings)
    if current_cycle(store, line) is None:
        Workspace(store, line, cycle_key(inputs), token=token).clear()
    return _fenced(open_cycle(store, line, inputs, notes=notes), settings, token)


@step_task
def vary_seed(settings: Settings, claim: ClaimedSnapshot) -> Settings:
    """Return the settings with the first `learn.seed` for which no night with these inputs has ended.

    Equal inputs give equal weights, so a night that is repeated on request needs another seed to be a night of its own.
    The seed is part of the key and of the frozen settings, so that manifest and resumption know it.
    """
    ended = open_registry(settings).state().cycles
    inputs = inputs_of(settings, data_digest=claim.data_digest)
    chosen, first = settings, ended.get(cycle_key(inputs))
    while claim.problems and cycle_key(replace(inputs, config_digest=config_digest(chosen))) in ended:
        learn = chosen.learn.model_copy(update={"seed": chosen.learn.seed + 1})
        chosen = chosen.model_copy(update={"learn": learn})
    if first is not None and chosen is not settings:
        LOG.info(
            "a night with the same data, parent and settings ended as %s before; this one has learn.seed %d, not %d, "
            "because equal inputs would train equal weights",
            first.kind,
            chosen.learn.seed,
            settings.learn.seed,
        )
    return chosen


@step_task
def find_ended_night(settings: Settings, claim: ClaimedSnapshot) -> dict[str, str | None] | None:
    """Return how a night with exactly these inputs ended; None if there was none."""
    key = cycle_key(inputs_of(settings, data_digest=claim.data_digest))
    state = open_registry(settings).state()
    event = state.cycles.get(key)
    if event is None:
        return None
    entry = state.version_of(key)
    reason = f"a night with these inputs ended as {event.kind} before: {event.reason}"
    if is_abandoned(key, state):
        reason += "; `everlearn cycle --again` begins another one with the same data"
    version = entry.version if entry else None
    return {"end": str(End.SKIPPED), "report": None, "version": version, "cycle_key": key, "reason": reason}


def inputs_of(settings: Settings, *, data_digest: str) -> CycleInputs:
    """Return the inputs of a night that starts now, from the champion.

    Raises:
        RegistryError: the versions of the line were trained on another base model.
    """
    state, base = open_registry(settings).state(), fingerprint(base_folder(settings))
    require_base(base, state, line=settings.store.line)
    return freeze_inputs(settings, data_digest=data_digest, parent=state.champion, base_fingerprint=base)


def watch_parent(night: Night) -> Callable[[], None]:
    """Return a function that abandons the night and raises StaleParentError once it can no longer publish.

    Training calls it at its start and at each checkpoint: rollback and bar need no lease, so they can come at any time.
    """
    registry = night.registry

    def require_parent() -> None:
        try:
            registry.require_parent(
                night.inputs.parent, cycle_key=night.key, make_champion=becomes_champion(night.settings.gate)
            )
        except StaleParentError as error:
            abandon_night(night, why=str(error))
            raise

    return require_parent


def end_night(night: Night, end: End) -> None:
    """Close the night, so that the next one can start."""
    opened = current_cycle(night.store, night.line)
    if opened is not None and opened.key == night.key:
        close_cycle(night.store, opened, end=end)


def abandon_night(night: Night, *, why: str) -> None:
    """Close the night without an end. If its candidate was measured, that is recorded as an attempt."""
    opened = current_cycle(night.store, night.line)
    if opened is not None and opened.key == night.key:
        charge(night.registry, opened, actor=ACTOR, why=why)
        close_cycle(night.store, opened, end=None)


def _fenced(opened: OpenCycle, settings: Settings, token: int) -> Night:
    """Return the night with its frozen key and settings, and shut out workers with an older token."""
    frozen = restore_settings(opened.notes, current=settings)
    Workspace(open_store(settings.store), settings.store.line, opened.key, token=token).fence()
    return Night(settings=frozen, key=opened.key, inputs=opened.inputs, token=token, started=opened.opened.isoformat())
