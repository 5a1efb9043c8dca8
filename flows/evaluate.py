"""Measure a version, the champion or the base on a suite: the same as `everlearn evaluate`, as a deployment."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from everlearn.settings import Settings, load
from tasks.evaluate import evaluate_version, show_evaluation


class EvaluateConfig(BaseModel):
    """Which version (`v0001`, `champion`, `base`) on which suite file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = "champion"
    suite: Path = Path("data/suites/short-sums.jsonl")
    settings: SkipJsonSchema[Settings] = Field(default_factory=load)


@flow(name="evaluate", persist_result=False)
def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Counts by ruling, and the share that is right."""
    found = evaluate_version(config.settings, config.version, config.suite)
    show_evaluation(config.settings, config.version, config.suite.stem, found)
    return found
