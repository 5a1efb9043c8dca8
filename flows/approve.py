"""Ask somebody whether a version that passed the gate shall serve: a form in the dashboard, with the gate's table.

The run waits suspended: it needs no worker until the form is sent. If nobody answers in time, it ends as failed, the
champion stays, and the version can still be approved, by a new run or by `everlearn approve`.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.announce import announce_champion
from tasks.approve import close_forms, describe_waiting, settle_version
from tasks.champion import show_champion
from tasks.offer import offer_versions

__all__ = ["ApproveConfig", "approve", "close_forms"]


class Approval(RunInput):
    """What the form asks for; all of it goes into the history of the line."""

    decision: Literal["approve", "refuse"] = Field(description="A version that is refused never serves.")
    reason: str = Field(min_length=3, description="For the history.")
    who: str = Field(min_length=1, description="Your name.")


class ApproveConfig(BaseModel):
    """Which version waits. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(description="A version that was published and waits.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"approve · line {config.settings.store.line} · {config.version}"


@flow(name="approve", flow_run_name=_name, persist_result=False)
def approve(config: ApproveConfig) -> dict[str, str | None]:
    """Wait for the form, then let the version serve, or bar it."""
    settings = config.settings
    form = Approval.with_initial_data(description=describe_waiting(settings, config.version))
    said = suspend_flow_run(wait_for_input=form, timeout=int(settings.gate.approval_hours * 3600))
    done = settle_version(
        settings, config.version, approved=said.decision == "approve", reason=said.reason, actor=said.who
    )
    what = f"{'approved' if said.decision == 'approve' else 'refused'} {config.version}"
    announce_champion(settings, what=what, actor=said.who, champion=done["champion"])
    show_champion(settings)
    offer_versions(settings)
    return done
