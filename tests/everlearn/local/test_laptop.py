from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from everlearn.local.laptop import down, environment, up
from everlearn.local.local_server import is_healthy
from everlearn.local.prefect_server import LocalPrefect
from everlearn.local.seaweedfs import LocalS3
from tests.support.static_server import SERVE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_up_and_down_report_what_they_started_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for server, role, path in ((LocalPrefect, "api", "url"), (LocalS3, "s3", "endpoint_url")):
        command = lambda self, role=role: [sys.executable, "-c", SERVE, str(self.config.ports[role])]  # noqa: E731
        monkeypatch.setattr(server, "command", command)
        monkeypatch.setattr(server, "is_ready", lambda self, path=path: is_healthy(f"{getattr(self, path)}/"))
    assert environment(tmp_path) == {}
    assert up(tmp_path) == {"SeaweedFS": True, "Prefect": True}
    assert up(tmp_path) == {"SeaweedFS": False, "Prefect": False}
    assert set(environment(tmp_path)) == {
        "AWS_ACCESS_KEY_ID",
        "AWS_ENDPOINT_URL_S3",
        "AWS_SECRET_ACCESS_KEY",
        "DO_NOT_TRACK",
        "EVERLEARN_STORE__ENDPOINT_URL",
        "PREFECT_API_URL",
        "PREFECT_LOGGING_EXTRA_LOGGERS",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW",
    }
    assert down(tmp_path) == {"Prefect": True, "SeaweedFS": True}
    assert down(tmp_path) == {"Prefect": False, "SeaweedFS": False}
