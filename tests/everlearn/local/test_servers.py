from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ServiceError
from everlearn.local import servers, store_probe
from everlearn.local.process import wait
from everlearn.local.servers import LocalPrefect, LocalS3, LocalServer, down, environment, up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"


class Page(LocalServer):
    """The smallest real server: lists its working directory."""

    name = "Page"
    roles = ("page",)
    code = PAGE

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.plan.ports['page']}/"

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code, str(self.plan.ports["page"])]

    def environ(self) -> dict[str, str]:
        return {}

    def ready(self) -> bool:
        return servers.answers(self.url)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    with LocalS3(tmp_path_factory.mktemp("s3"), bucket="testbucket") as server:
        yield server


def test_a_started_s3_server_keeps_what_is_written_and_refuses_strangers(s3: LocalS3) -> None:
    keys = {"access_key": s3.access_key, "secret_key": s3.secret_key}
    assert store_probe.sings(s3.endpoint_url, bucket="testbucket", **keys)
    assert not store_probe.sings(s3.endpoint_url, bucket="nobucket", **keys)
    assert not store_probe.sings(s3.endpoint_url, bucket="testbucket", access_key=s3.access_key, secret_key="wrong")


def test_starting_twice_starts_once(s3: LocalS3) -> None:
    assert s3.runs()
    assert not LocalS3(s3.directory, bucket="testbucket").start()


def test_ports_and_keys_are_readable_by_their_owner_only(s3: LocalS3) -> None:
    assert stat.S_IMODE((s3.directory / "server.json").stat().st_mode) == 0o600
    assert len(s3.secret_key) == 40


def test_data_and_address_survive_kill_9_and_a_restart(tmp_path: Path) -> None:
    server = LocalS3(tmp_path)
    server.start()
    signed = (server.access_key, server.secret_key)
    assert (
        store_probe.ask(server.endpoint_url, method="PUT", path="/everlearn/kept", body=b"kept", keys=signed)[0] == 200
    )
    before, pid = server.endpoint_url, int((tmp_path / "process.json").read_text().split(":")[1].split(",")[0])
    os.kill(pid, signal.SIGKILL)
    assert wait(lambda: not server.runs(), patience_s=10)
    with LocalS3(tmp_path) as again:
        assert again.endpoint_url == before
        assert store_probe.ask(before, method="GET", path="/everlearn/kept", keys=signed) == (200, b"kept")
    assert not again.stop()


def test_a_page_is_started_found_and_stopped(tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        assert page.ready()
        assert not servers.answers(page.url + "missing")
    assert not page.ready()
    assert not page.runs()


def test_a_server_that_was_never_started_says_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="everlearn up"):
        _ = Page(tmp_path).plan


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PORT_PATIENCE_S", 0.1)
    page = Page(tmp_path)
    page._draw_plan()
    port = page.plan.ports["page"]
    expected = pytest.raises(ServiceError, match=rf"needs port {port}.*server\.json")
    with socket.create_server(("127.0.0.1", port)), expected:
        page.start()
    assert not page.runs()


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.code = "raise SystemExit('no such thing')"
    with pytest.raises(ServiceError, match=r"ended at once(.|\n)*no such thing"):
        page.start()


def test_a_server_that_never_answers_is_stopped_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PATIENCE_S", 0.2)
    page = Page(tmp_path)
    page.code = "import time; time.sleep(60)"
    with pytest.raises(ServiceError, match="did not answer within"):
        page.start()
    assert not page.runs()


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
    with pytest.raises(ServiceError, match="only 1 MiB are free"):
        Page(tmp_path).start()
    assert not (tmp_path / "server.json").exists()


def test_a_missing_program_names_the_remedy() -> None:
    with pytest.raises(ServiceError, match="make install"):
        servers.program("no-such-program-anywhere")


def test_prefect_runs_on_this_interpreter_with_its_own_home_and_no_analytics(tmp_path: Path) -> None:
    server = LocalPrefect(tmp_path)
    server._draw_plan()
    assert server.command()[:3] == [sys.executable, "-m", "prefect"]
    assert server.environ()["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert server.api_url == server.url + "/api"
    assert not server.ready()


def test_up_and_down_move_both_servers_and_tell_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalPrefect, "command", lambda self: [*Page.command(Page(tmp_path))[:3], str(port_of(self))])
    monkeypatch.setattr(LocalPrefect, "ready", lambda self: servers.answers(f"{self.url}/"))
    monkeypatch.setattr(LocalS3, "command", lambda self: [sys.executable, "-c", PAGE, str(self.plan.ports["s3"])])
    monkeypatch.setattr(LocalS3, "ready", lambda self: servers.answers(f"{self.endpoint_url}/"))
    Page(tmp_path)._draw_plan()
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


def port_of(server: LocalPrefect) -> int:
    return server.plan.ports["api"]


@pytest.mark.slow
def test_the_real_prefect_server_starts_answers_and_stops(tmp_path: Path) -> None:
    with LocalPrefect(tmp_path) as server:
        assert servers.answers(f"{server.api_url}/health")
    assert not server.ready()
