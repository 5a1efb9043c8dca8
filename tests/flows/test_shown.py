"""The dashboard of a real server shows the verdict of a run and the progress of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from prefect import flow, tags, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks import progress as progress_module
from tasks.progress import progress
from tasks.run_state import final_state

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
    ("end", "version", "verdict"),
    [
        ("PUBLISHED", "v0008", "PASS"),
        ("REJECTED", None, "FAIL"),
        ("INSUFFICIENT", None, "INSUFFICIENT"),
        ("NO_NEW_DATA", None, "no new data"),
        ("SKIPPED", None, "skipped"),
    ],
)
def test_the_verdict_is_added_to_the_tags_of_the_run(
    client: SyncPrefectClient, end: str, version: str | None, verdict: str
) -> None:
    with tags("line:shown"):
        state = ending({"end": end, "version": version, "reason": "a reason"}, return_state=True)
    run = client.read_flow_run(run_of(state.state_details.flow_run_id))
    assert sorted(run.tags) == sorted(["line:shown", verdict])
    assert run.name.endswith(f" · {version} {verdict}" if version else f" · {verdict}")
    assert run.state is not None
    assert (run.state.name, run.state.message) == ("Completed", f"{end}: a reason")


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
