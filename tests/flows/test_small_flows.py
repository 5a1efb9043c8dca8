"""The two flows beside the night: take a version back, and measure one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import ValidationError

from everlearn.access import open_registry
from everlearn.errors import RegistryError
from flows.evaluate import EvaluateConfig, evaluate
from flows.roll_back import RollBackConfig, roll_back
from tests.line import publish
from tests.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.settings import Settings
    from tests.flows.conftest import Nights


@pytest.fixture
def settings(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", nights.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", nights.server.secret_key)
    with temporary_settings({PREFECT_API_URL: nights.prefect_url}):
        yield nights.settings()
        APILogWorker.drain_all(timeout=5)  # what is still to be logged needs the server of this session


def test_the_champion_is_taken_back_once(settings: Settings) -> None:
    publish(open_registry(settings), "first")
    config = RollBackConfig(reason="answers got longer", settings=settings)
    assert roll_back(config) == {"left": "v0001", "to": None}
    assert open_registry(settings).state().champion is None
    with pytest.raises(RegistryError, match="nothing to roll back"):
        roll_back(config)


def test_the_base_is_measured_on_a_suite(settings: Settings, nights: Nights) -> None:
    suite = nights.folder / "data" / "suites" / "short.jsonl"
    found = evaluate(EvaluateConfig(version="base", suite=suite, settings=settings))
    assert found["n"] == found["correct"] + found["wrong"] + found["undecided"] == 12
    assert found["share"] > 0.5


def test_a_misspelt_parameter_of_a_flow_is_refused() -> None:
    with pytest.raises(ValidationError, match="suit"):
        EvaluateConfig.model_validate({"suit": ROOT})
