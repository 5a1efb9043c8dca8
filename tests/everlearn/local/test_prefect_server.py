from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from everlearn.local.local_server import is_healthy
from everlearn.local.prefect_server import LocalPrefect

if TYPE_CHECKING:
    from pathlib import Path


def test_prefect_has_its_own_home_and_no_analytics(tmp_path: Path) -> None:
    server = LocalPrefect(tmp_path)
    server._create_config()
    assert server.command()[:4] == [sys.executable, "-m", "everlearn.local.prefect_process", "server"]
    assert server.environ()["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert server.api_url == server.url + "/api"
    assert not server.is_ready()


@pytest.mark.slow
def test_the_real_server_starts_answers_and_stops(tmp_path: Path) -> None:
    with LocalPrefect(tmp_path) as server:
        assert is_healthy(f"{server.api_url}/health")
    assert not server.is_ready()
