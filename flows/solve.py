"""Solve problems one by one, with more work for each than a night gives it: `everlearn solve` as a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.run_state import run_name
from tasks.solve import offer_solved, read_unsolved, show_solutions, solve_problems


class SolveConfig(BaseModel):
    """A file of problems on the worker, the version, and what each problem may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: Path
    version: str = "champion"
    cpu_seconds: float = Field(default=20.0, gt=0, description="CPU seconds for each problem.")
    rollouts: int = Field(default=0, ge=0, description="Sampled completions for each problem; 0: any number.")
    tokens: int = Field(default=0, ge=0, description="Sampled tokens for each problem; 0: any number.")
    samples: int = Field(default=16, ge=1, description="Answers sampled before a ladder is grown.")
    trains: bool = Field(default=True, description="Grow a ladder and train, or only sample.")
    compare: bool = Field(
        default=True,
        description="Also try best of n, and samples with a ladder, at as many rollouts, beyond the budget. Nothing is compared without training.",
    )
    processes: int = Field(default=1, ge=1, description="Problems that are worked on at the same time.")
    offer: bool = Field(default=False, description="Put what was not solved at once into the inbox of the next night.")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return run_name("solve", config.settings, f"{config.problems.stem} with {config.version}")


@flow(name="solve", flow_run_name=_name, persist_result=False)
def solve(config: SolveConfig) -> dict[str, Any]:
    """Return how many problems were solved, by what, and what it cost."""
    budget = config.model_dump(include={"cpu_seconds", "rollouts", "tokens", "samples", "trains"})
    asked = read_unsolved(config.settings, config.problems)
    found = solve_problems(
        config.settings,
        asked,
        config.version,
        compares=config.compare and config.trains,
        processes=config.processes,
        **budget,
    )
    facts = show_solutions(config.settings, found)
    if config.offer:
        facts["offered"] = offer_solved(config.settings, asked, found)
    return facts
