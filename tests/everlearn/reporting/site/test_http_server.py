"""The site over HTTP, requested by a low-level client."""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING

import pytest
from starlette.responses import Response
from starlette.routing import Route

from everlearn.errors import ServiceError, StoreDownError
from everlearn.local.process import wait_until
from everlearn.reporting.site import http_server
from everlearn.reporting.site.http_server import PageCache, bind, create_server, serve
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish
from tests.support.site import serve_site

if TYPE_CHECKING:
    from email.message import Message

    import uvicorn
    from starlette.applications import Starlette

    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Blob
    from tests.support.eventful import Eventful


def request(port: int, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, bytes, Message]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read(), response.headers


def test_pages_have_security_headers_and_an_etag(eventful: Eventful) -> None:
    with serve_site(lambda: eventful.registry) as port:
        status, body, headers = request(port)
        assert status == 200
        assert b"v0008 serves" in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "everlearn"
        status, empty, _ = request(port, If_None_Match=headers["ETag"])
        assert (status, empty) == (304, b"")
        status, empty, head = request(port, "/index.html?x=1", method="HEAD")
        assert (status, empty, head["Content-Length"]) == (200, b"", str(len(body)))


def test_serve_binds_loopback_only(eventful: Eventful, monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[uvicorn.Server] = []

    def create_and_keep(app: Starlette) -> uvicorn.Server:
        servers.append(create_server(app))
        return servers[0]

    monkeypatch.setattr(http_server, "create_server", create_and_keep)
    thread = threading.Thread(target=lambda: serve(lambda: eventful.registry, port=0))
    thread.start()
    try:
        assert wait_until(lambda: bool(servers) and servers[0].started, timeout_s=10)
        [listener] = servers[0].servers[0].sockets
        assert listener.getsockname()[0] == "127.0.0.1"
    finally:
        servers[0].should_exit = True
        thread.join()


def test_write_methods_are_not_implemented(eventful: Eventful) -> None:
    with serve_site(lambda: eventful.registry) as port:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert request(port, method=method)[0] == 501


@pytest.mark.parametrize(
    "path", ["/none.html", "/../../etc/passwd", "/%2e%2e/HEAD", "/nights/%00.html", "/nights/", "/%0A", "/a%0Ab"]
)
def test_unknown_paths_are_not_found(path: str, eventful: Eventful) -> None:
    with serve_site(lambda: eventful.registry) as port:
        status, body, _ = request(port, path)
        assert status == 404
        assert b"no such page" in body


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example:80", 421), ("", 421), ("localhost:1", 200), ("127.0.0.1", 200)]
)
def test_foreign_host_names_are_refused(host: str, status: int, eventful: Eventful) -> None:
    with serve_site(lambda: eventful.registry) as port:
        assert request(port, Host=host)[0] == status


def test_pages_are_cached_until_the_line_changes() -> None:
    registry = open_line(MemoryStore())
    pages = PageCache(lambda: registry)
    first = pages.load("")[1]
    assert b"The base model serves" in first
    assert pages.load("")[1] is first
    publish(registry, "one")
    assert b"v0001 serves" in pages.load("")[1]


def test_the_page_cache_is_bounded(eventful: Eventful, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CACHED_PAGES", 3)
    pages = PageCache(lambda: eventful.registry)
    for number in range(10):
        pages.load(f"{number}")
        assert len(pages._pages) <= 3


def test_store_outage_gives_503_until_it_recovers() -> None:
    registry = open_line(MemoryStore())
    outages = [StoreDownError("no S3 server is running here: run `everlearn up`")]

    def open_after_outage() -> Registry:
        if outages:
            raise outages.pop()
        return registry

    with serve_site(open_after_outage) as port:
        status, body, _ = request(port)
        assert status == 503
        assert b"run `everlearn up`" in body
        assert request(port)[0] == 200


def test_internal_error_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def get(self, key: str) -> Blob:
            raise ZeroDivisionError(key)

    with serve_site(lambda: open_line(Broken())) as port:
        status, body, _ = request(port)
    assert status == 500
    assert b"Traceback" not in body
    assert b"ZeroDivision" not in body
    assert "ZeroDivisionError" in caplog.text


def test_health_and_other_views_work_without_a_store() -> None:
    def open_unavailable() -> Registry:
        raise StoreDownError("down")

    with serve_site(open_unavailable, Route("/other", lambda _: Response(b"seen"))) as port:
        assert request(port, "/health")[:2] == (200, b"ok\n")
        assert request(port, "/other")[:2] == (200, b"seen")


def test_unusable_port_is_an_error_with_a_remedy(eventful: Eventful) -> None:
    with serve_site(lambda: eventful.registry) as port, pytest.raises(ServiceError, match="choose another with --port"):
        bind(port)
