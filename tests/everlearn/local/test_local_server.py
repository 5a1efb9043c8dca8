from __future__ import annotations

import shutil
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ServiceError
from everlearn.local import local_server, ports
from everlearn.local.local_server import is_healthy
from everlearn.local.process import Process
from tests.support.static_server import StaticServer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_server_is_started_found_and_stopped(tmp_path: Path) -> None:
    with StaticServer(tmp_path) as server:
        assert server.is_ready()
        assert not is_healthy(server.url + "missing")
        assert not StaticServer(tmp_path).start()
    assert not server.is_ready()
    assert not server.is_running()


def test_config_before_the_first_start_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="everlearn up"):
        _ = StaticServer(tmp_path).config


@pytest.mark.parametrize("text", ["", "{", '{"ports": {}, "keys": []}', '{"ports": {"page": "x"}, "keys": []}', "[]"])
def test_a_damaged_config_is_named_with_the_remedy(text: str, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(text, encoding="utf-8")
    with pytest.raises(
        ServiceError, match=r"server\.json does not hold the ports and keys .* correct it, or delete it"
    ):
        _ = StaticServer(tmp_path).config


def test_what_a_server_stores_is_closed_to_other_users(tmp_path: Path) -> None:
    with StaticServer(tmp_path / "static"):
        assert (tmp_path / "static").stat().st_mode & 0o077 == 0


def test_stopping_a_server_keeps_the_record_of_one_that_was_started_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = StaticServer(tmp_path)
    server.start()
    stop = Process.stop

    def stop_while_another_command_starts(process: Process) -> None:
        monkeypatch.setattr(Process, "stop", stop)
        stop(process)
        StaticServer(tmp_path).start()

    monkeypatch.setattr(Process, "stop", stop_while_another_command_starts)
    assert server.stop()
    assert server.is_running()
    assert server.stop()


def test_a_busy_port_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RELEASE_TIMEOUT_S", 0.1)
    server = StaticServer(tmp_path)
    server._create_config()
    port = server.config.ports["page"]
    expected = pytest.raises(ServiceError, match=rf"needs port {port}.*server\.json")
    with socket.create_server(("127.0.0.1", port)), expected:
        server.start()
    assert not server.is_running()


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    server = StaticServer(tmp_path)
    server.code = "raise SystemExit('no such thing')"
    with pytest.raises(ServiceError, match=r"ended at once(.|\n)*no such thing"):
        server.start()


def test_a_server_that_never_answers_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server, "START_TIMEOUT_S", 0.2)
    server = StaticServer(tmp_path)
    server.code = "import time; time.sleep(60)"
    with pytest.raises(ServiceError, match="did not answer within"):
        server.start()
    assert not server.is_running()


def test_a_running_server_that_does_not_answer_a_command_is_not_stopped_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StaticServer(tmp_path) as server:
        monkeypatch.setattr(local_server, "START_TIMEOUT_S", 0.2)
        monkeypatch.setattr(StaticServer, "is_ready", lambda _: False)
        with pytest.raises(ServiceError, match="did not answer within 0 s, and runs on as it was; `everlearn down`"):
            StaticServer(tmp_path).start()
        assert server.is_running()


def test_a_full_disk_is_reported_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024**2))
    with pytest.raises(ServiceError, match="only 1 MiB are free"):
        StaticServer(tmp_path).start()
    assert not (tmp_path / "server.json").exists()


def test_a_missing_program_names_the_remedy() -> None:
    with pytest.raises(ServiceError, match="make install"):
        local_server.find_program("no-such-program-anywhere")
