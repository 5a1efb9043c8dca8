"""Approval of a version that passed the gate: request it, show what the decision rests on, and record it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment

from everlearn.errors import RegistryError
from everlearn.gate.decision_record import Decision
from everlearn.orchestration.schedules import line_tag
from everlearn.registry.connect import open_registry
from everlearn.reporting.report import gate_markdown
from tasks.night import LOG, Night, step_task

if TYPE_CHECKING:
    from everlearn.settings import Settings


@step_task
def request_approval(night: Night, ended: dict[str, str | None]) -> dict[str, str | None]:
    """Open a form in the dashboard if the line requires approval. Return the end of the night with `waits_for`.

    Without a deployment `approve` for the line, the version is approved with `everlearn approve`.
    """
    version = ended["version"]
    if version is None or not night.settings.gate.require_approval:
        return ended
    LOG.info("%s waits for approval: everlearn approve %s --reason …", version, version)
    if deployment.id is not None:
        _open_form(night.line, version)
    return ended | {"waits_for": "approval"}


@step_task
def describe_waiting(settings: Settings, version: str) -> str:
    """Return the gate's result as markdown for the form. RegistryError if the version does not wait for approval."""
    registry = open_registry(settings)
    state = registry.state()
    if version not in state.waiting:
        waiting = ", ".join(state.waiting) or "none"
        raise RegistryError(f"{version} of line {settings.store.line} does not wait for approval; waiting: {waiting}")
    manifest = registry.manifest(version)
    champion = state.champion or "The base model"
    parent = manifest.parent or "the base model"
    status = f"**{version}** of line {settings.store.line} passed the gate against {parent}, and waits."
    return f"{status} {champion} serves now.\n\n" + gate_markdown(Decision.from_dict(manifest.decision))


@step_task
def settle_version(
    settings: Settings, version: str, *, approved: bool, reason: str, actor: str
) -> dict[str, str | None]:
    """Approve or refuse a version. Return it and the champion after that."""
    registry = open_registry(settings)
    (registry.approve if approved else registry.refuse)(version, reason=reason, actor=actor)
    return {"version": version, "champion": registry.cached_state.champion}


def _open_form(line: str, version: str) -> None:
    name = f"approve/approve-{line}"
    try:
        run_deployment(
            name,
            parameters={"config": {"version": version}},
            timeout=0,
            tags=[line_tag(line), version],
            as_subflow=False,
            idempotency_key=f"{line} {version}",
        )
    except ObjectNotFound:
        LOG.warning("no deployment %s shows a form for %s; run `everlearn deploy`", name, version)
