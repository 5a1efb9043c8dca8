"""Make a published version the champion: the same as `everlearn promote`, as a deployment with a form.

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
from tasks.champion import await_consumers, promote_version, show_champion
from tasks.offer import offer_versions


class PromoteConfig(BaseModel):
    """Which version, and why. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(description="The version that shall serve.")
    reason: str = Field(min_length=3, description="For the history.")
    verify: Literal["quick", "full"] = Field(default="quick", description="Ask for checksums, or hash every byte.")
    wait_s: float = Field(default=0.0, ge=0.0, description="How long to wait until all consumers have followed.")
    actor: str = "prefect"
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"promote · line {config.settings.store.line} · {config.version}"


@flow(name="promote", flow_run_name=_name, persist_result=False)
def promote(config: PromoteConfig) -> dict[str, str | None]:
    """The version that served before and the one that serves now."""
    done = promote_version(
        config.settings, config.version, reason=config.reason, actor=config.actor, verify=config.verify
    )
    announce_champion(config.settings, what=f"promoted {done['to']}", actor=config.actor, champion=done["to"])
    show_champion(config.settings)
    offer_versions(config.settings)
    await_consumers(config.settings, patience_s=config.wait_s)
    return done
