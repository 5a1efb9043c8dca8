"""The part of a night that decodes and trains: for a worker with a GPU, while the night waits on another.

Everything it does is kept in the night's work, so that whoever comes next finds it there and goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.gate import CANDIDATE, check_bytes, measure_suites, name_opponents, upload_candidate
from tasks.learn import grow_ladder, train_adapter
from tasks.night import speaking
from tasks.open import join_night

if TYPE_CHECKING:
    from tasks.night import Night


class ClimbConfig(BaseModel):
    """Which night, as whoever waits for it has opened it. The settings are those of the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycle_key: str
    token: int = Field(ge=1, description="The fencing token of the night that waits.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"climb · line {config.settings.store.line} · cycle {config.cycle_key[:12]}"


@flow(name="climb", flow_run_name=_name, persist_result=False)
def climb(config: ClimbConfig) -> None:
    """Go on with that night's ladder, training and measurements."""
    night = join_night(config.settings, config.cycle_key, config.token)
    with speaking(config.settings):
        climb_ladder(night)


def climb_ladder(night: Night) -> None:
    """Grow the ladder, train on it, and let the candidate and its opponents answer every suite."""
    grow_ladder(night)
    train_adapter(night)
    upload_candidate(night)
    for who in ("parent", CANDIDATE, *(name for _, name in name_opponents(night))):
        measure_suites(night, who)
    check_bytes(night)
