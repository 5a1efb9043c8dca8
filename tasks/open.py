"""Open a night, or say that it has ended already: its inputs are frozen once, and a re-run goes on with them."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, digest_of
from everlearn.cycle.record import CycleInputs, End, Workspace, close_cycle, current_cycle, cycle_key, open_cycle
from everlearn.errors import CycleError
from everlearn.registry.connect import open_registry, open_store
from everlearn.settings import Settings
from everlearn.telemetry import logs
from everlearn.training.models.fingerprint import fingerprint
from tasks.night import LOG, Night, step_task

if TYPE_CHECKING:
    from everlearn.cycle.record import OpenCycle
    from tasks.ingest import ClaimedSnapshot

RESUMED, CLIMBED = "resumed", "climbed"
MOST_RESUMES = 3


@step_task
def resume_night(settings: Settings, token: int) -> Night | None:
    """The night that an earlier run left open, with its own settings; None if the last one has ended."""
    found = current_cycle(open_store(settings.store), settings.store.line)
    if found is None:
        return None
    with logs.bound(cycle=found.key):
        LOG.info("going on with the night that was opened %s, cycle %s", found.opened, found.key[:12])
    night = _fenced(found, settings, token)
    demand_progress(night.work, count=RESUMED)
    return night


@step_task
def join_night(settings: Settings, cycle_key: str, token: int) -> Night:
    """The night that somebody else has opened and waits with, by its token. CycleError if it is open no longer."""
    found = current_cycle(open_store(settings.store), settings.store.line)
    if found is None or found.key != cycle_key:
        raise CycleError(f"the night with cycle {cycle_key[:12]} of line {settings.store.line} is open no longer")
    night = _fenced(found, settings, token)
    demand_progress(night.work, count=CLIMBED)
    return night


def demand_progress(work: Workspace, *, count: str) -> None:
    """Count how often a night was taken up at the very same place; CycleError when that cannot be chance any more.

    Whoever runs it again after that has looked at it: the count begins anew.
    """
    told = json.loads(work.get(count)) if work.has(count) else {}
    here = work.progress(without={RESUMED, CLIMBED})
    times = told["times"] + 1 if told.get("at") == here else 1
    loops = times > MOST_RESUMES
    work.put(count, canonical({"at": here, "times": 0 if loops else times}))
    if loops:
        raise CycleError(
            f"this night was cut short {times} times at the same place, and is not taken up by itself again: look at the "
            "logs of its last runs, then run it once more, or give it up with `everlearn cycle --abandon`"
        )


@step_task
def open_night(settings: Settings, token: int, claim: ClaimedSnapshot) -> Night:
    """Freeze the inputs of tonight."""
    inputs = inputs_of(settings, data_digest=claim.data_digest)
    notes = {"settings": settings.model_dump_json()}
    return _fenced(open_cycle(open_store(settings.store), settings.store.line, inputs, notes=notes), settings, token)


@step_task
def ended_before(settings: Settings, claim: ClaimedSnapshot) -> dict[str, str | None] | None:
    """How a night with these very inputs ended, if one did."""
    key = cycle_key(inputs_of(settings, data_digest=claim.data_digest))
    state = open_registry(settings).state()
    event = state.cycles.get(key)
    if event is None:
        return None
    entry = state.version_of(key)
    return {"end": str(End.SKIPPED), "report": None, "version": entry.version if entry else None, "cycle_key": key,
            "reason": f"a night with these inputs ended as {event.kind} before: {event.reason}"}  # fmt: skip


def inputs_of(settings: Settings, *, data_digest: str) -> CycleInputs:
    """Everything that decides tonight's weights."""
    chosen = settings.model_dump(mode="json", include={"domain", "threads", "ingest", "ladder", "learn"})
    return CycleInputs(
        data_digest=data_digest,
        config_digest=digest_of(canonical(chosen)),
        parent=open_registry(settings).state().champion,
        base_fingerprint=fingerprint(settings.base.path),
        code_version=version("everlearn"),
    )


def end_night(night: Night, end: End | None) -> None:
    """Let the next night begin; `end` None abandons this one."""
    found = current_cycle(night.store, night.line)
    if found is not None and found.key == night.key:
        close_cycle(night.store, found, end=end)


def _fenced(found: OpenCycle, settings: Settings, token: int) -> Night:
    """The night with its frozen settings; where the store is comes from today's. Older workers are shut out."""
    frozen = Settings.model_validate_json(found.notes["settings"])
    frozen = frozen.model_copy(update={"store": settings.store, "signing": settings.signing})
    Workspace(open_store(settings.store), settings.store.line, found.key, token=token).fence()
    return Night(settings=frozen, key=found.key, inputs=found.inputs, token=token, started=found.opened.isoformat())
