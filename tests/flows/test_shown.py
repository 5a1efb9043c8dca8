"""What the dashboard shows of a run, asked of a real server: its verdict, and how far it is."""

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

from tasks import progress as bars
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
def test_a_verdict_is_a_tag_of_the_run_beside_those_that_it_had(
    client: SyncPrefectClient, end: str, version: str | None, verdict: str
) -> None:
    with tags("line:shown"):
        state = ending({"end": end, "version": version, "reason": "of that"}, return_state=True)
    run = client.read_flow_run(run_of(state.state_details.flow_run_id))
    assert sorted(run.tags) == sorted(["line:shown", verdict])
    assert run.name.endswith(f" · {version} {verdict}" if version else f" · {verdict}")
    assert run.state is not None
    assert (run.state.name, run.state.message) == ("Completed", f"{end}: of that")


def test_a_bar_grows_while_a_step_is_at_work(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_LINES", -1.0)
    seen: list[list[tuple[object, str | None]]] = []

    @task
    def train() -> None:
        mine = ArtifactFilter(
            type=ArtifactFilterType(any_=["progress"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(str(flow_run.id))]),
        )
        with progress("training") as tell:
            for done in (1, 2, 4):
                tell(done, 4, f"loss 0.{done}")
                seen.append([(each.data, each.description) for each in client.read_artifacts(artifact_filter=mine)])

    @flow(name="climbing", persist_result=False)
    def climbing() -> None:
        train()

    climbing()
    assert seen == [
        [(25.0, "training: 1 of 4 loss 0.1")],
        [(50.0, "training: 2 of 4 loss 0.2")],
        [(100.0, "training: 4 of 4 loss 0.4")],
    ], "one bar, that tells how far it is"


def run_of(found: UUID | None) -> UUID:
    assert found is not None
    return found
