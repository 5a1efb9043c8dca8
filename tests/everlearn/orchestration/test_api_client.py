from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.errors import ServiceError
from everlearn.orchestration.api_client import connect
from everlearn.orchestration.schedules import find_night


def test_an_older_server_is_refused() -> None:
    class Older(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'"3.7.0"')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Older) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}),
            pytest.raises(ServiceError, match=r"is version 3.7.0, and here is 3\.\d+\.\d+: a server must not be older"),
            connect(),
        ):
            pass
        server.shutdown()


def test_without_a_server_the_remedy_is_named() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ServiceError, match="run `everlearn up`"),
        connect() as client,
    ):
        find_night(client, line="a")
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(ServiceError, match="no Prefect server runs here"),
        connect(),
    ):
        pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:42oo/api", "http://ada:s3cret@127.0.0.1:9/api"])
def test_an_address_without_a_server_is_named_without_its_password(url: str) -> None:
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(ServiceError, match="does not answer") as failed,
        connect(),
    ):
        pass
    assert "s3cret" not in str(failed.value)
