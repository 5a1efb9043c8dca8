"""Let a night begin when new problems have arrived: because somebody said so, or because they were found in the bucket.

Whoever puts a shard below `<line>/inbox/` in the bucket can say so with the event `everlearn.data.arrived` of the
resource `everlearn.line.<line>`; `everlearn ingest --bucket` does. Without a word they are found within ten minutes.
"""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.begin import begin_night
from tasks.ingest import find_unseen


class IngestConfig(BaseModel):
    """Nothing has to be said. The settings are those of the worker: params.yaml and EVERLEARN_* there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


@flow(name="ingest", persist_result=False)
def ingest(config: IngestConfig) -> dict[str, int]:
    """How many shards no published night has seen, and how many nights were begun for them."""
    unseen = find_unseen(config.settings)
    return {"unseen": len(unseen), "begun": begin_night(config.settings, unseen) if unseen else 0}
