"""The part of a night that decodes and trains: for a worker with a GPU, while the night itself waits on another worker.

All results are kept in the night's workspace, so that any later run resumes from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.compare_with_context import measure_contexts
from tasks.compare_with_record import complete_record, look_at_candidate, renew_record
from tasks.decide import name_baselines
from tasks.measure import CANDIDATE, check_bytes, measure_suites, upload_candidate
from tasks.night import log_context
from tasks.open_base import check_base_model
from tasks.open_night import join_night
from tasks.run_state import run_name
from tasks.train import answer_anchors, grow_ladder, learn_reference_answers, train_adapter

if TYPE_CHECKING:
    from tasks.night import Night


class ClimbConfig(BaseModel):
    """The night, as its own run opened it. The settings are those of the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycle_key: str
    token: int = Field(ge=1, description="The fencing token of the run that waits.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return run_name("climb", config.settings, f"cycle {config.cycle_key[:12]}")


@flow(name="climb", flow_run_name=_name, persist_result=False)
def climb(config: ClimbConfig) -> None:
    """Run the night's ladder, training and measurements."""
    night = join_night(config.settings, config.cycle_key, config.token)
    with log_context(config.settings):
        check_base_model(night.settings, trains_here=True)  # the night checked all but this machine's memory
        train_candidate(night)


def train_candidate(night: Night) -> None:
    """Learn reference answers, grow the ladder, train on it, and measure candidate and baselines on every suite."""
    learn_reference_answers(night)
    grow_ladder(night)
    answer_anchors(night)
    train_adapter(night)
    upload_candidate(night)
    baselines = [(baseline.policy, baseline.suites) for baseline in name_baselines(night)]
    # The candidate first: the parent's luck is only known once giving up counts as a test (gate/abandonment.py).
    for policy, only in [(CANDIDATE, None), ("parent", None), *baselines]:
        measure_suites(night, policy, only)
    measure_contexts(night)
    complete_record(night)
    look_at_candidate(night)
    renew_record(night)
    check_bytes(night)
