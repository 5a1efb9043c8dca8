"""One night, from new problems to a version that is provably better, or to the reason why there is none.

Killed at any moment, the same call goes on: each step keeps its result in the store, and finds it there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from flows.climb import climb_ladder
from tasks.announce import announce, concluded
from tasks.approve import ask_for_approval
from tasks.climb import await_climb, stop_climbs
from tasks.gate import decide, name_opponents, recheck_rewards
from tasks.ingest import claim_problems, read_problems, validate_problems
from tasks.learn import freeze_suites
from tasks.night import Night, hold_line
from tasks.offer import offer_versions
from tasks.open import ended_before, open_night, resume_night
from tasks.publish import (
    close_night,
    publish_night,
    record_no_new_data,
    record_nothing_to_learn,
    show_history,
    show_night,
    write_report,
)
from tasks.turn import later_run_waits

LATER: dict[str, str | None] = {"end": "SKIPPED", "reason": "a later night is due, too, and makes up for this one"}


class CycleConfig(BaseModel):
    """Where new problems arrive, and who climbs: a deployment, or else this very process.

    The settings are those of the worker: params.yaml and EVERLEARN_* there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = Field(default=None, description="By default, what was handed in for the line.")
    climb: str | None = Field(default=None, description="Decodes and trains where a GPU is: climb/climb-<line>.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return f"night {datetime.now(tz=UTC):%Y-%m-%d} · line {config.settings.store.line}"


@flow(name="run-cycle", flow_run_name=_name, persist_result=False, on_cancellation=[stop_climbs])
def run_cycle(config: CycleConfig) -> dict[str, str | None]:
    """Ingest, validate, ladder, train, gate, publish, report: `end`, `version`, `reason`, `report`, `cycle_key`."""
    settings = config.settings
    if later_run_waits():
        return concluded(LATER)
    with hold_line(settings) as token:
        ended = _run(config, token)
    show_history(settings)
    return concluded(ended)


def _run(config: CycleConfig, token: int) -> dict[str, str | None]:
    """The night that is open, or a new one, if there is anything new."""
    settings = config.settings
    night = resume_night(settings, token)
    if night is None:
        intake = read_problems(settings, config.data)
        validate_problems(settings, intake)
        claim = claim_problems(settings, intake)
        ended = ended_before(settings, claim)
        if ended is not None:
            return ended
        if not claim.problems:
            ended = record_no_new_data(settings, claim)
            announce(settings, ended)
            return ended
        night = open_night(settings, token, claim)
    ended = _learn(night, climb=config.climb) if freeze_suites(night) else record_nothing_to_learn(night)
    announce(settings, ended)  # before the night is closed: if it is killed here, it is told twice, and not never
    close_night(night, str(ended["end"]))
    return ended


def _learn(night: Night, *, climb: str | None) -> dict[str, str | None]:
    """The night itself, once its inputs are frozen and something is left to learn from."""
    if climb is None:
        climb_ladder(night)
    else:
        await_climb(night, climb)
    recheck_rewards(night)
    outcome = decide(night, name_opponents(night))
    write_report(night)
    ended = publish_night(night, outcome)
    show_night(night)
    offer_versions(night.settings)
    return ask_for_approval(night, ended)
