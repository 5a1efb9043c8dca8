"""Start a night when new problems have arrived, after an event or because they were found in the bucket.

A producer that puts a shard below `<line>/inbox/` in the bucket can emit the event `everlearn.data.arrived` of the
resource `everlearn.line.<line>`, as `everlearn ingest --bucket` does. Without an event, shards are found within ten
minutes.
"""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.ingest import find_unseen
from tasks.run_state import run_name
from tasks.start_night import start_night


class IngestConfig(BaseModel):
    """No parameters. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    return run_name("ingest", flow_run.parameters["config"].settings)


@flow(name="ingest", flow_run_name=_name, persist_result=False)
def ingest(config: IngestConfig) -> dict[str, int]:
    """Return how many shards no published night has seen, and how many nights were started for them."""
    unseen = find_unseen(config.settings)
    return {"unseen": len(unseen), "begun": start_night(config.settings, unseen) if unseen else 0}
