"""Refusals of files and by the server, without a real Prefect server."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from unittest.mock import MagicMock
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import BadInputError, ServiceError
from everlearn.orchestration.api_client import connect
from everlearn.orchestration.automations import read_automations
from everlearn.orchestration.deployments import DeploymentPlan, apply, read_plan
from everlearn.orchestration.notifications import TargetPlan
from tests.support.night import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "infra" / "prefect.yaml"


@pytest.mark.parametrize("text", ["a: [", "- {name: x}", "3"])
def test_an_invalid_file_of_automations_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "automations.yaml"
    file.write_text(text)
    with pytest.raises(BadInputError, match="is not a list of Prefect automations"):
        read_automations(file)


def test_a_schedule_without_cron_is_left_to_prefect(tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace('cron: "0 12 * * 0"', "interval: 3600"))
    plan = read_plan(file, line="a", directory=tmp_path)
    assert plan.deployments["housekeeping/housekeeping-a"]["schedules"][0]["interval"] == 3600


def test_a_refusal_of_prefect_deploy_shows_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="no such pool", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    plan = DeploymentPlan(line="a", file=FILE, environ={}, deployments={}, automations={})
    monkeypatch.setattr(yaml, "safe_load", lambda _: {"deployments": []})
    with pytest.raises(ServiceError, match=r"Prefect refused the deployments of line a:\nno such pool"):
        apply(plan, MagicMock(spec=SyncPrefectClient))


def test_a_refused_request_is_a_service_error(monkeypatch: pytest.MonkeyPatch) -> None:
    request = httpx.Request("GET", "http://server/api")
    refusal = PrefectHTTPStatusError("401 Unauthorized", request=request, response=httpx.Response(401, request=request))

    def refuse(_: SyncPrefectClient) -> str:
        raise refusal

    monkeypatch.setattr(SyncPrefectClient, "api_version", refuse)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ServiceError, match="refuses the request: 401 Unauthorized"),
        connect(),
    ):
        pass


def test_a_target_that_is_gone_is_deleted_from_the_server() -> None:
    client, block = MagicMock(spec=SyncPrefectClient), UUID(int=7)
    plan = TargetPlan(kept={}, new={}, gone={"slack-webhook/everlearn": block})
    assert plan.apply(client) == ["notifications no longer go to slack-webhook/everlearn"]
    client.delete_block_document.assert_called_once_with(block)
