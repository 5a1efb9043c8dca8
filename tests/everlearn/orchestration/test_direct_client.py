"""Requests without importing Prefect, and the fallback to Prefect's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import BadInputError, ServiceError
from everlearn.orchestration.direct_client import PREFIXES, connect
from everlearn.orchestration.schedules import find_night

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith(PREFIXES)]:
        monkeypatch.delenv(name)


@contextmanager
def answering(answers: Mapping[str, tuple[int, object]]) -> Iterator[str]:
    """Run a server that gives these answers by path; yield the URL of its API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path.partition("?")[0].removeprefix("/api"), (404, None))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_url_alone_needs_no_prefect(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with connect() as client:
        assert isinstance(client, httpx.Client)
        with pytest.raises(BadInputError, match="no nights of line 'nowhere' are deployed"):
            find_night(client, line="nowhere")


def test_schedule_show_does_not_import_prefect(prefect_url: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    program = (
        "import sys\nfrom everlearn.cli import app\n"
        "try: app(['schedule', 'show', '--line', 'nowhere'], standalone_mode=False)\n"
        "except Exception as error: print(error)\n"
        "print(sorted({'prefect', 'torch', 'jsonschema'} & set(sys.modules)))"
    )
    environ = os.environ | {"PREFECT_API_URL": prefect_url, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, check=True, capture_output=True, text=True
    )
    assert "no nights of line 'nowhere' are deployed" in done.stdout
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("variable", "value"), [("PREFECT_CLIENT_CUSTOM_HEADERS", "{}"), ("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "true")]
)
def test_other_settings_need_prefects_own_client(
    prefect_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv(variable, value)
    with temporary_settings({PREFECT_API_URL: prefect_url}), connect() as client:
        assert isinstance(client, SyncPrefectClient)


def test_a_profile_is_read_by_prefects_own_client(prefect_url: str) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_url}), connect() as client:
        assert isinstance(client, SyncPrefectClient)
        with pytest.raises(BadInputError, match="no nights of line 'nowhere' are deployed"):
            find_night(client, line="nowhere")


def test_a_server_with_csrf_tokens_needs_prefects_own_client(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering({"/csrf-token": (200, {})}) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        with temporary_settings({PREFECT_API_URL: prefect_url}), connect() as client:
            assert isinstance(client, SyncPrefectClient)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "3.7.0"), "is version 3.7.0, and here is .*: a server must not be older"),
        ((401, None), "refuses the request: .*401"),
    ],
)
def test_an_unsuitable_server_is_refused(
    answer: tuple[int, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering({"/csrf-token": (422, None), "/admin/version": answer}) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(ServiceError, match=message), connect():
            pass


def test_without_a_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, prefect_url: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ServiceError, match=r"does not answer .*; run `everlearn up`"), connect():
        pass
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    with pytest.raises(ServiceError, match=r"does not answer \(reset\)"), connect():
        raise httpx.ReadError("reset")


def test_other_refusals_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = {"/deployments/name/run-cycle/nightly-a": (500, None)}
    with answering({"/csrf-token": (422, None), "/admin/version": (200, "3.99.0"), **refusal}) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(ServiceError, match=r"refuses the request: .*500"), connect() as client:
            find_night(client, line="a")


@pytest.mark.parametrize("url", ["http://127.0.0.1:42oo/api", "http://ada:s3cret@127.0.0.1:9/api"])
def test_an_address_without_a_server_is_named_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(ServiceError, match="does not answer") as failed, connect():
        pass
    assert "s3cret" not in str(failed.value)
