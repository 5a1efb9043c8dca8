"""Maintain a line: `everlearn fsck`, `everlearn gc --yes`, and deletion of its old runs in Prefect."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.housekeeping import collect_garbage, forget_runs, walk_line
from tasks.run_state import run_name


class HousekeepingConfig(BaseModel):
    """No parameters. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    return run_name("housekeeping", flow_run.parameters["config"].settings)


@flow(name="housekeeping", flow_run_name=_name, persist_result=False)
def housekeeping(config: HousekeepingConfig) -> dict[str, int]:
    """Return how many objects were checked and removed and how many runs deleted. Damage stops before any removal."""
    walked = walk_line(config.settings)
    removed = collect_garbage(config.settings)
    return {"walked": walked, "removed": removed, "forgotten": forget_runs(config.settings, at=datetime.now(tz=UTC))}
