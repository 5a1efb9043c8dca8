"""Make a published version the champion: `everlearn promote` as a deployment with a form.

The form lists the existing versions; publishing, promoting and rolling back refresh it. The flow validates the
selected version again.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.champion import await_consumers, promote_version, show_champion
from tasks.emit_events import emit_champion_changed
from tasks.refresh_forms import refresh_forms
from tasks.run_state import run_name
from tasks.show_night import show_history


class PromoteConfig(BaseModel):
    """The version and the reason. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(description="The version to make champion.")
    reason: str = Field(min_length=3, description="For the history.")
    verify: Literal["quick", "full"] = Field(
        default="quick", description="Compare the server's checksums, or hash every byte."
    )
    wait_s: float = Field(default=0.0, ge=0.0, description="Seconds to wait until all consumers have followed.")
    actor: str = "prefect"
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return run_name("promote", config.settings, config.version)


@flow(name="promote", flow_run_name=_name, persist_result=False)
def promote(config: PromoteConfig) -> dict[str, str | None]:
    """Return the version that served before and the one that serves now."""
    done = promote_version(
        config.settings, config.version, reason=config.reason, actor=config.actor, verify=config.verify
    )
    emit_champion_changed(config.settings, what=f"promoted {done['to']}", actor=config.actor, champion=done["to"])
    show_champion(config.settings)
    show_history(config.settings)
    refresh_forms(config.settings)
    await_consumers(config.settings, timeout_s=config.wait_s)
    return done
