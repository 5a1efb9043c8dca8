"""Measure a version, the champion or the base model on a suite: `everlearn evaluate` as a deployment."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.evaluate import evaluate_version, show_evaluation
from tasks.run_state import run_name


class EvaluateConfig(BaseModel):
    """The version (`v0001`, `champion` or `base`) and the suite file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = "champion"
    suite: Path = Path("data/suites/short-sums.jsonl")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


def _name() -> str:
    config = flow_run.parameters["config"]
    return run_name("evaluate", config.settings, f"{config.version} on {config.suite.stem}")


@flow(name="evaluate", flow_run_name=_name, persist_result=False)
def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Return the number of items, counts by ruling, and the share that is correct."""
    result = evaluate_version(config.settings, config.version, config.suite)
    show_evaluation(config.settings, config.version, config.suite.stem, result)
    return result
