"""Walk the history of a line, and remove what nobody needs: `everlearn fsck`, `everlearn gc --yes`, and Prefect's old runs."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.housekeeping import collect_garbage, forget_runs, walk_line


class HousekeepingConfig(BaseModel):
    """Nothing has to be said. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


@flow(name="housekeeping", persist_result=False)
def housekeeping(config: HousekeepingConfig) -> dict[str, int]:
    """How many objects were walked and removed, and how many runs forgotten: none of them where the walk finds damage."""
    walked = walk_line(config.settings)
    removed = collect_garbage(config.settings)
    return {"walked": walked, "removed": removed, "forgotten": forget_runs(config.settings, at=datetime.now(tz=UTC))}
