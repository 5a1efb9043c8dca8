"""The dashboard of a real server shows the verdict of a run and the progress of its steps."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import yaml
from prefect import flow, tags, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.client.schemas.objects import StateType
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.server.events.schemas.automations import EventTrigger
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows
from everlearn.cycle.record import End
from everlearn.settings import Settings
from everlearn.settings.sections import StoreSettings
from tasks import progress as progress_module
from tasks.progress import progress
from tasks.run_state import STATES, final_state, run_name, state_name
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient


@pytest.fixture
def client(prefect_url: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as found:
        yield found
        APILogWorker.drain_all(timeout=5)


@flow(name="ending", persist_result=False)
def ending(ended: dict[str, str | None]) -> dict[str, str | None]:
    return final_state(ended)


@pytest.mark.parametrize(
    ("end", "version", "verdict", "name"),
    [
        ("PUBLISHED", "v0008", "PASS", "Published v0008"),
        ("REJECTED", None, "FAIL", "Rejected"),
        ("INSUFFICIENT", None, "INSUFFICIENT", "Insufficient"),
        ("NO_NEW_DATA", None, "no new data", "No new data"),
        ("SKIPPED", "v0007", "skipped", "Skipped"),
    ],
)
def test_the_end_is_the_name_of_the_state_and_a_tag(
    client: SyncPrefectClient, end: str, version: str | None, verdict: str, name: str
) -> None:
    with tags("line:shown"):
        state = ending({"end": end, "version": version, "reason": "a reason"}, return_state=True)
    run = client.read_flow_run(run_of(state.state_details.flow_run_id))
    assert sorted(run.tags) == sorted(["line:shown", verdict])
    assert run.name.endswith(f" · {version} {verdict}" if version else f" · {verdict}")
    assert run.state is not None
    assert (run.state.type, run.state.name, run.state.message) == (StateType.COMPLETED, name, f"{end}: a reason")


def test_every_end_of_a_night_has_a_state() -> None:
    assert set(STATES) == set(End)
    assert len(set(STATES.values())) == len(End)


@pytest.mark.parametrize("end", sorted(End))
def test_a_run_that_ended_is_not_awaited_by_automations(end: End) -> None:
    event = f"prefect.flow-run.{state_name({'end': end, 'version': 'v0008'})}"
    automations = yaml.safe_load((ROOT / "infra" / "automations.yaml").read_text(encoding="utf-8"))
    awaiting = [each["trigger"] for each in automations if "prefect.flow-run.Completed" in each["trigger"]["expect"]]
    assert len(awaiting) == 2
    assert all(EventTrigger.model_validate(trigger).expects(event) for trigger in awaiting)


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(flows.__path__)))
def test_every_flow_names_its_runs(name: str) -> None:
    module = importlib.import_module(f"flows.{name}")
    assert getattr(module, name).flow_run_name is module._name


@pytest.mark.parametrize(("count", "suffix"), [("1", ""), ("2", " · attempt 2")])
def test_a_retried_run_is_told_from_the_first(monkeypatch: pytest.MonkeyPatch, count: str, suffix: str) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", count)
    name = run_name("night", Settings(store=StoreSettings(line="math")))
    assert re.fullmatch(rf"night 20\d\d-\d\d-\d\d \d\d:\d\d · line math{suffix}", name)


def test_the_progress_bar_is_updated_during_a_step(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", -1.0)
    seen: list[list[tuple[object, str | None]]] = []

    @task
    def train() -> None:
        mine = ArtifactFilter(
            type=ArtifactFilterType(any_=["progress"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(str(flow_run.id))]),
        )
        with progress("training") as report_progress:
            for done in (1, 2, 4):
                report_progress(done, 4, f"loss 0.{done}")
                seen.append([(bar.data, bar.description) for bar in client.read_artifacts(artifact_filter=mine)])

    @flow(name="training", persist_result=False)
    def training() -> None:
        train()

    training()
    assert seen == [
        [(25.0, "training: 1 of 4 loss 0.1")],
        [(50.0, "training: 2 of 4 loss 0.2")],
        [(100.0, "training: 4 of 4 loss 0.4")],
    ], "one bar, updated with the progress"


def run_of(found: UUID | None) -> UUID:
    assert found is not None
    return found
