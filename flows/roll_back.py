"""Take the champion back: the same as `everlearn rollback`, as a deployment with a form.

The form offers the versions that there are: publishing, promoting and rolling back refresh it. What was chosen is
checked again when the flow runs.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.announce import announce_champion
from tasks.champion import await_consumers, roll_back_line, show_champion
from tasks.offer import LAST_GOOD, offer_versions


class RollBackConfig(BaseModel):
    """Why, and where to go back to. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field(min_length=3, description="For the history, and for whoever reviews that night's data.")
    to: str = Field(default=LAST_GOOD, description="The version that shall serve, or the base model alone.")
    keep: bool = Field(default=False, description="Do not bar the version that is left.")
    verify: Literal["quick", "full"] = Field(default="quick", description="Ask for checksums, or hash every byte.")
    wait_s: float = Field(default=0.0, ge=0.0, description="How long to wait until all consumers have followed.")
    actor: str = "prefect"
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"roll back · line {config.settings.store.line} · to {config.to}"


@flow(name="roll-back", flow_run_name=_name, persist_result=False)
def roll_back(config: RollBackConfig) -> dict[str, str | None]:
    """The version that was left and the one that serves now (None: the base model alone)."""
    to = None if config.to == LAST_GOOD else config.to
    done = roll_back_line(
        config.settings, to, reason=config.reason, actor=config.actor, keep=config.keep, verify=config.verify
    )
    announce_champion(
        config.settings,
        what=f"rolled back {done['left']} to {done['to'] or 'the base model'}",
        actor=config.actor,
        champion=done["to"],
    )
    show_champion(config.settings)
    offer_versions(config.settings)
    await_consumers(config.settings, patience_s=config.wait_s)
    return done
