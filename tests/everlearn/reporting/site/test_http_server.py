"""The site over HTTP, asked by a client that hides nothing."""

from __future__ import annotations

import contextlib
import http.client
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import ServiceError, StoreDownError
from everlearn.reporting.site import http_server
from everlearn.reporting.site.http_server import Answer, Front, listen
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import open_line, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

    from everlearn.registry.versions import Registry
    from everlearn.storage.protocol import Blob
    from tests.support.eventful import Eventful


@contextlib.contextmanager
def served(open_registry: Callable[[], Registry]) -> Iterator[int]:
    with listen(open_registry, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running.server_port
        finally:
            running.shutdown()
            thread.join()


def ask(port: int, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, bytes, Message]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def test_pages_come_with_a_strict_policy_and_are_not_sent_twice(eventful: Eventful) -> None:
    with served(lambda: eventful.registry) as port:
        status, body, headers = ask(port)
        assert status == 200
        assert b"v0008 serves" in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "everlearn"
        status, nothing, _ = ask(port, If_None_Match=headers["ETag"])
        assert (status, nothing) == (304, b"")
        status, nothing, again = ask(port, "/index.html?x=1", method="HEAD")
        assert (status, nothing, again["Content-Length"]) == (200, b"", str(len(body)))


def test_it_only_reads(eventful: Eventful) -> None:
    with served(lambda: eventful.registry) as port:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert ask(port, method=method)[0] == 501


@pytest.mark.parametrize("path", ["/none.html", "/../../etc/passwd", "/%2e%2e/HEAD", "/nights/%00.html", "/nights/"])
def test_what_is_no_page_is_not_found(path: str, eventful: Eventful) -> None:
    with served(lambda: eventful.registry) as port:
        status, body, _ = ask(port, path)
        assert status == 404
        assert b"no such page" in body


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example:80", 421), ("", 421), ("localhost:1", 200), ("127.0.0.1", 200)]
)
def test_only_this_machine_can_name_it(host: str, status: int, eventful: Eventful) -> None:
    with served(lambda: eventful.registry) as port:
        assert ask(port, Host=host)[0] == status


def test_a_change_of_the_line_is_seen_at_once_and_nothing_is_made_twice() -> None:
    registry = open_line(MemoryStore())
    made: list[str] = []
    front = Front(lambda: registry)

    def load_page() -> bytes:
        answer = front.answer("/")
        made.append(str(id(answer.body)))
        return answer.body

    assert b"The base model serves" in load_page()
    assert b"The base model serves" in load_page()
    assert made[0] == made[1]
    publish(registry, "one")
    assert b"v0001 serves" in load_page()


def test_pages_that_were_made_do_not_pile_up(eventful: Eventful, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MOST_KEPT", 3)
    front = Front(lambda: eventful.registry)
    for number in range(10):
        front.answer(f"/{number}")
        assert len(front._kept) <= 3


def test_a_store_that_does_not_answer_is_a_page_that_says_so_until_it_does() -> None:
    registry = open_line(MemoryStore())
    downs = [StoreDownError("no S3 server is running here: run `everlearn up`")]

    def open_one() -> Registry:
        if downs:
            raise downs.pop()
        return registry

    with served(open_one) as port:
        status, body, _ = ask(port)
        assert status == 503
        assert b"run `everlearn up`" in body
        assert ask(port)[0] == 200


def test_a_bug_shows_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def get(self, key: str) -> Blob:
            raise ZeroDivisionError(key)

    with served(lambda: open_line(Broken())) as port:
        status, body, _ = ask(port)
    assert status == 500
    assert b"Traceback" not in body
    assert b"ZeroDivision" not in body
    assert "ZeroDivisionError" in caplog.text


def test_it_is_healthy_without_a_store_and_other_views_can_stand_beside_the_pages() -> None:
    def open_none() -> Registry:
        raise StoreDownError("down")

    with served(open_none) as port:
        assert ask(port, "/health")[:2] == (200, b"ok\n")
    front = Front(open_none, views={"/other": lambda: Answer(status=HTTPStatus.OK, body=b"seen")})
    assert front.answer("/other").body == b"seen"


def test_a_port_that_is_taken_or_none_is_an_error_with_a_remedy(eventful: Eventful) -> None:
    with served(lambda: eventful.registry) as port, pytest.raises(ServiceError, match="choose another with --port"):
        listen(lambda: eventful.registry, port=port)
