"""Waiting times of nights, read from a real Prefect server without workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Late, Pending, Running, Scheduled

from everlearn.cli.context import Installation
from everlearn.cli.serve_metrics import collector, queue_of
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.missed_runs import has_later_due_run
from everlearn.orchestration.run_queue import read_queue
from tests.support.night import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import S3Server

LINE = "queued"


@pytest.fixture
def installation(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Return the place of a line on a real bucket, for the exporter."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    store = f"{{bucket: {bucket}, endpoint_url: '{s3_server.endpoint_url}', line: {LINE}}}"
    (tmp_path / "params.yaml").write_text(f"store: {store}\nsigning: {{unsigned: true}}\n", encoding="utf-8")
    return Installation(home=tmp_path, params=tmp_path / "params.yaml")


def exported(installation: Installation) -> dict[str, float]:
    """Return the metrics of one sample that a scrape yields."""
    return {family.name: family.samples[0].value for family in collector(installation).collect() if family.samples}


def test_waiting_running_and_ended_nights_are_counted(
    prefect_url: str, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        assert read_queue(client, line=LINE).waiting == 0
        apply(read_plan(ROOT / "infra" / "prefect.yaml", line=LINE, directory=ROOT), client)
        nightly = client.read_deployment_by_name(f"run-cycle/nightly-{LINE}").id
        empty = read_queue(client, line=LINE)
        assert (empty.wait_s, empty.oldest_s, empty.running) == (None, 0.0, 0)

        due = datetime.now(tz=UTC) - timedelta(minutes=10)
        old, late, tonight = (
            client.create_flow_run_from_deployment(nightly, state=Scheduled(scheduled_time=due)).id for _ in range(3)
        )
        client.set_flow_run_state(
            tonight, Pending(), force=True
        )  # the server marks overdue scheduled runs late by itself
        client.set_flow_run_state(late, Late(scheduled_time=due), force=True)
        client.set_flow_run_state(old, Running(), force=True)
        client.set_flow_run_state(old, Completed(), force=True)
        metrics = exported(installation)
        assert (metrics["everlearn_up"], metrics["everlearn_prefect_up"], metrics["everlearn_nights_late"]) == (1, 1, 1)
        queue = queue_of(LINE)
        assert (queue.waiting, queue.late, queue.running) == (2, 1, 0)
        assert 600 <= queue.oldest_s < 900
        assert queue.wait_s is not None
        assert 600 <= queue.wait_s < 900
        client.set_flow_run_state(tonight, Running(), force=True)
        assert (read_queue(client, line=LINE).waiting, read_queue(client, line=LINE).running) == (1, 1)
        assert read_queue(client, line="another").waiting == 0


def test_of_several_missed_runs_only_the_latest_has_no_later_one(prefect_url: str) -> None:
    line, now = "missed", datetime.now(tz=UTC)
    with temporary_settings({PREFECT_API_URL: prefect_url}), get_client(sync_client=True) as client:
        apply(read_plan(ROOT / "infra" / "prefect.yaml", line=line, directory=ROOT), client)
        nightly = client.read_deployment_by_name(f"run-cycle/nightly-{line}").id
        first, second, future = (now + timedelta(hours=hours) for hours in (-48, -24, 24))
        runs = [
            client.create_flow_run_from_deployment(nightly, state=Scheduled(scheduled_time=due)).id
            for due in (first, second, future)
        ]
        assert has_later_due_run(nightly, after=first)
        assert not has_later_due_run(nightly, after=second)
        client.set_flow_run_state(runs[1], Running(), force=True)
        assert has_later_due_run(nightly, after=first), "both may have started at once"
