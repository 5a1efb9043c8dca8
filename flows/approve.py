"""Request approval of a version that passed the gate: a form in the dashboard, with the gate's table.

The run is suspended while it waits, so it needs no worker. Without an answer in time it fails and the champion stays;
the version can still be approved by a new run or by `everlearn approve`.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.orchestration.approval_forms import wait_for_answer
from everlearn.settings import Settings, load
from tasks.approve import describe_waiting, settle_version
from tasks.champion import show_champion
from tasks.emit_events import emit_champion_changed
from tasks.refresh_forms import refresh_forms
from tasks.show_night import show_history


class Approval(RunInput):
    """Fields of the form. All of them are kept in the history of the line."""

    decision: Literal["approve", "refuse"] = Field(description="A refused version never becomes champion.")
    reason: str = Field(min_length=3, description="For the history.")
    who: str = Field(min_length=1, description="Your name.")


class ApproveConfig(BaseModel):
    """The version that waits for approval. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(description="A published version that waits for approval.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"approve · line {config.settings.store.line} · {config.version}"


@flow(name="approve", flow_run_name=_name, persist_result=False)
def approve(config: ApproveConfig) -> dict[str, str | None]:
    """Wait for the form, then make the version the champion, or bar it."""
    settings = config.settings
    form = Approval.with_initial_data(description=describe_waiting(settings, config.version))
    answer = wait_for_answer(form, hours=settings.gate.approval_hours)
    approved = answer.decision == "approve"
    done = settle_version(settings, config.version, approved=approved, reason=answer.reason, actor=answer.who)
    what = f"{'approved' if approved else 'refused'} {config.version}"
    emit_champion_changed(settings, what=what, actor=answer.who, champion=done["champion"])
    show_champion(settings)
    show_history(settings)
    refresh_forms(settings)
    return done
