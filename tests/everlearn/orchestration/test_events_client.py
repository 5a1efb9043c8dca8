from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.orchestration.events_client import CHANGED, emit

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN: list[tuple[str, str | None, Any]] = []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            SEEN.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    SEEN.clear()
    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{found.server_port}/api")
    yield found
    found.shutdown()
    found.server_close()


@pytest.mark.usefixtures("server")
def test_an_event_names_the_line_and_carries_the_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    assert emit(CHANGED, line="math", payload={"what": "rolled back"})
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    assert emit(CHANGED, line="math", payload={"what": "promoted"})
    (path, anonymous, (event,)), (_, authorization, _) = SEEN
    assert (path, anonymous, authorization) == ("/api/events", None, "Bearer secret")
    assert event["event"] == "everlearn.champion.changed"
    assert event["resource"]["prefect.resource.id"] == "everlearn.line.math"
    assert event["payload"] == {"what": "rolled back"}


@pytest.mark.usefixtures("server")
def test_the_password_of_a_server_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass")
    assert emit(CHANGED, line="math", payload={})
    assert [authorization for _, authorization, _ in SEEN] == ["Basic YWRtaW46cGFzcw=="]


def test_a_refusal_is_logged(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.RequestHandlerClass, "do_POST", lambda handler: handler.send_error(401))
    assert not emit(CHANGED, line="math", payload={})
    assert "refuses the event (HTTP 401)" in caplog.text


@pytest.mark.parametrize("url", ["", "nowhere", "http://127.0.0.1:9/api", "https://127.0.0.1:9/api"])
def test_an_unreachable_server_is_no_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert not emit(CHANGED, line="math", payload={})


@pytest.mark.parametrize("url", ["http://127.0.0.1:42oo/api", "http://[::1/api"])
def test_an_address_that_is_none_sends_nothing_and_raises_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert not emit(CHANGED, line="math", payload={})
