"""One night: from new problems to a version that is provably better, or to the reason why there is none.

Killed at any moment, the same call resumes: each step keeps its result in the store and finds it there.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.errors import LineBusyError
from everlearn.settings import Settings, load
from flows.climb import train_candidate
from tasks.approve import request_approval
from tasks.certificate import require_certificate
from tasks.climb import await_climb, stop_climbs
from tasks.decide import decide, name_baselines, recheck_rewards
from tasks.emit_events import emit_night_ended
from tasks.freeze_suites import check_suites, freeze_suites
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.night import Night, hold_line
from tasks.open_base import check_base_model, open_base
from tasks.open_night import find_ended_night, open_night, resume_night, vary_seed
from tasks.publish import close_night, publish_night, record_no_new_data, record_nothing_to_learn
from tasks.refresh_forms import refresh_forms
from tasks.run_state import final_state, has_later_run, run_name, skip_night
from tasks.show_night import show_history, show_night
from tasks.write_report import write_report

REPLACED: dict[str, str | None] = {"end": "SKIPPED", "reason": "a later night is due as well and replaces this one"}


class CycleConfig(BaseModel):
    """Where new problems arrive, and the deployment that trains; without one, this process does.

    The settings are those of the worker: params.yaml and EVERLEARN_* there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = Field(default=None, description="By default, the line's inbox.")
    again: bool = Field(default=False, description="Read problems again that published nights have seen.")
    climb: str | None = Field(
        default=None, description="Deployment that decodes and trains on a GPU: climb/climb-<line>."
    )
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return run_name("night", config.settings)


@flow(name="run-cycle", flow_run_name=_name, persist_result=False, on_cancellation=[stop_climbs])
def run_cycle(config: CycleConfig) -> dict[str, str | None]:
    """Run one night. Return its `end`, `version`, `reason`, `report` and `cycle_key`."""
    settings = config.settings
    if has_later_run():
        return final_state(REPLACED)
    try:
        with hold_line(settings) as token:
            ended = _run(config, token)
    except LineBusyError as busy:
        return final_state(skip_night(busy))
    show_history(settings)
    return final_state(ended)


def _run(config: CycleConfig, token: int) -> dict[str, str | None]:
    """Resume the open night, or start a new one if there are new problems."""
    settings = config.settings
    night = resume_night(settings, token)
    if night is None:
        require_certificate(settings)
        settings = open_base(settings)
        intake = read_problems(settings, config.data, again=config.again)
        validate_problems(settings, intake)
        claim = claim_problems(settings, intake, again=config.again)
        settings = vary_seed(settings, claim) if config.again else settings
        ended = find_ended_night(settings, claim)
        if ended is not None:
            return ended
        if not claim.problems:
            ended = record_no_new_data(settings, claim)
            emit_night_ended(settings, ended)
            return ended
        check_base_model(settings, trains_here=config.climb is None)
        check_suites(settings)
        night = open_night(settings, token, claim)
    ended = _learn(night, climb=config.climb) if freeze_suites(night) else record_nothing_to_learn(night)
    emit_night_ended(settings, ended)  # before it is closed: a kill here repeats the event instead of losing it
    close_night(night, str(ended["end"]))
    return ended


def _learn(night: Night, *, climb: str | None) -> dict[str, str | None]:
    """Train, decide and publish, once the inputs are frozen and there is something to train on."""
    if climb is None:
        train_candidate(night)
    else:
        await_climb(night, climb)
    recheck_rewards(night)
    outcome = decide(night, name_baselines(night))
    write_report(night)
    ended = publish_night(night, outcome)
    show_night(night)
    refresh_forms(night.settings)
    return request_approval(night, ended)
