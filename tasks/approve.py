"""A version that passed the gate and waits for somebody's word: ask for it, show what to judge by, and act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment
from prefect.states import Cancelled

from everlearn.errors import RegistryError
from everlearn.gate.decision import Decision
from everlearn.registry.connect import open_registry
from everlearn.reporting.report import gate_markdown
from tasks.night import LOG, Night, step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def ask_for_approval(night: Night, ended: dict[str, str | None]) -> dict[str, str | None]:
    """Let a form wait in the dashboard if the line asks for approval; how the night ended, with that in it.

    Without a deployment `approve` for the line, `everlearn approve` is all there is, and it is enough.
    """
    version = ended["version"]
    if version is None or not night.settings.gate.require_approval:
        return ended
    LOG.info("%s waits for approval: everlearn approve %s --reason …", version, version)
    if deployment.id is not None:
        name = f"approve/approve-{night.line}"
        given = {"config": {"version": version}}
        tags = [f"line:{night.line}", version]
        try:
            run_deployment(
                name,
                parameters=given,
                timeout=0,
                tags=tags,
                as_subflow=False,
                idempotency_key=f"{night.line} {version}",
            )
        except ObjectNotFound:
            LOG.warning("there is no deployment %s to show a form; run `everlearn deploy`", name)
    return ended | {"waits_for": "approval"}


@step_task
def describe_waiting(settings: Settings, version: str) -> str:
    """What to judge by, as markdown. RegistryError if the version does not wait for anybody's word."""
    registry = open_registry(settings)
    state = registry.state()
    if version not in state.waiting:
        waiting = ", ".join(state.waiting) or "none"
        raise RegistryError(f"{version} of line {settings.store.line} does not wait for approval; waiting: {waiting}")
    manifest = registry.manifest(version)
    now = state.champion or "The base model"
    began = manifest.parent or "the base model"
    told = (
        f"**{version}** of line {settings.store.line} passed the gate against {began}, and waits. {now} serves now.\n\n"
    )
    return told + gate_markdown(Decision.from_dict(manifest.decision))


@step_task
def settle_version(
    settings: Settings, version: str, *, approved: bool, reason: str, actor: str
) -> dict[str, str | None]:
    """Approve or refuse; the version, and who serves now."""
    registry = open_registry(settings)
    (registry.approve if approved else registry.refuse)(version, reason=reason, actor=actor)
    return {"version": version, "champion": registry.known.champion}


def close_forms(*, line: str, version: str) -> int:
    """Take away the forms of a version that was decided elsewhere; how many there were."""
    waits = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED, StateType.SCHEDULED]))
    tags = FlowRunFilterTags(all_=[f"line:{line}", version])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["approve"])),
            flow_run_filter=FlowRunFilter(state=waits, tags=tags),
        )
        for run in runs:
            client.set_flow_run_state(run.id, Cancelled(message=f"{version} was decided elsewhere."), force=True)
    return len(runs)
