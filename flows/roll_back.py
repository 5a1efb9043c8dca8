"""Take the champion back: the same as `everlearn rollback`, as a deployment."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from everlearn.settings import Settings
from tasks.roll_back import roll_back_line


class RollBackConfig(BaseModel):
    """Where to go back to (by default the last good champion), why, and who says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field(min_length=3)
    to: str | None = Field(default=None, description="v0001, or base; by default the last good champion")
    actor: str = "prefect"
    settings: Settings = Settings()


@flow(name="roll-back", persist_result=False)
def roll_back(config: RollBackConfig) -> dict[str, str | None]:
    """The version that was left and the one that serves now (None: the base model alone)."""
    return roll_back_line(config.settings, config.to, reason=config.reason, actor=config.actor)
