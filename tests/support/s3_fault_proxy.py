"""A proxy in front of a real S3 server that spoils chosen requests, in every way in which a network can.

Signatures survive: the client signs for the proxy's address, and the `Host` header is handed on as it came. Whatever
is not spoiled goes to the server and comes back as it is.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.retries.standard import ExponentialBackoff

from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    import pytest

    from tests.conftest import S3Server

HOP_BY_HOP = {"connection", "expect", "transfer-encoding", "content-length"}
SIGNED = {"authorization", "x-amz-date", "host"}


class Fault(Enum):
    """What happens to one request."""

    SLOW_DOWN = "503 SlowDown, the server not asked"
    CONFLICT = "409 ConditionalRequestConflict, the server not asked"
    PRECONDITION = "412 PreconditionFailed, the server not asked"
    SKEWED = "403 RequestTimeTooSkewed, the server not asked"
    DENIED = "403 AccessDenied, the server not asked"
    RESET_BEFORE = "connection reset, the server not asked"
    CUT_ON_THE_WAY = "half of the request reaches the server"
    RESET_AFTER = "done, and the answer dropped"
    CUT_HEADERS = "done, and the answer ends within its headers"
    CUT_BODY = "done, and half of the answer's body"
    ERROR_INSIDE = "done, and an error in the body of a 200"
    GATEWAY = "done, and 504 from a gateway"
    IN_PIECES = "done, and the answer comes byte by byte"
    TWICE = "done twice, as some gateways do, and the second answer"
    SILENT = "done, and nothing said until the client gives up"
    LATE = "done only after the client has given up"


REFUSALS = {
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.PRECONDITION: (412, "PreconditionFailed"),
    Fault.SKEWED: (403, "RequestTimeTooSkewed"),
    Fault.DENIED: (403, "AccessDenied"),
}
UNPROCESSED_FAULTS = {*REFUSALS, Fault.RESET_BEFORE, Fault.CUT_ON_THE_WAY}
HANGING_FAULTS = {Fault.SILENT, Fault.LATE}  # the client waits as long as it has patience
IMMEDIATE_FAULTS = tuple(fault for fault in Fault if fault not in HANGING_FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def completes(self) -> bool:
        """Whether it is to make an object of parts."""
        return self.method == "POST" and "uploadId=" in self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer as it goes out. `length` is the size of the body that was, where none is sent (HEAD)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    length: int

    def encode(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, '')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.status != 204:
            lines.append(f"Content-Length: {self.length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


Choose = Callable[[Request], Fault | None]


@dataclass(slots=True)
class Proxy:
    """A running proxy. `choose` says what to do to a request; `requests` are all that came, in order.

    `stripped_headers` are names of headers (lower case) that no request keeps: it is signed anew, with `keys`, as if the server
    did not know them. `clock_offset` is what every answer's date is off.
    """

    keys: tuple[str, str]
    port: int = 0
    choose: Choose = lambda _: None
    requests: list[Request] = field(default_factory=list)
    stripped_headers: set[str] = field(default_factory=set)
    clock_offset: timedelta | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def store(self, bucket: str, *, timeout_s: float = 60.0) -> S3Store:
        """That bucket of the server behind, through this proxy."""
        return S3Store(bucket, endpoint_url=self.endpoint_url, keys=self.keys, timeout_s=timeout_s)

    @contextlib.contextmanager
    def faults(self, *faults: Fault | None, on: Callable[[Request], bool] = lambda _: True) -> Iterator[list[Request]]:
        """Spoil the next requests that are `on` in these ways, one after the other; yields what comes meanwhile."""
        rest, lock, first = list(faults), threading.Lock(), len(self.requests)
        seen: list[Request] = []

        def choose(asked: Request) -> Fault | None:
            with lock:
                return rest.pop(0) if rest and on(asked) else None

        self.choose = choose
        try:
            yield seen
        finally:
            self.choose = lambda _: None
            seen += self.requests[first:]
            self.requests.clear()


@contextlib.contextmanager
def run_proxy(server: S3Server) -> Iterator[Proxy]:
    """A proxy on a free port in front of that server."""
    proxy = Proxy(keys=(server.access_key, server.secret_key))
    address = urlsplit(server.endpoint_url)
    place = (str(address.hostname), int(address.port or 0))

    class Handler(_Handler):
        upstream: ClassVar = place
        state: ClassVar = proxy

    with _Server(("127.0.0.1", 0), Handler) as listener:
        proxy.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


def disable_retry_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 try again at once, instead of after a while."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is what many tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[tuple[str, int]]
    state: ClassVar[Proxy]

    def log_message(self, *_: object) -> None:
        pass

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        asked = Request(method=self.command, path=self.path, headers=tuple(kept), body=body)
        self.state.requests.append(asked)
        if self.state.stripped_headers & {name.lower() for name, _ in kept}:
            asked = self._without(asked, self.state.stripped_headers)
        fault = self.state.choose(asked)
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            self._say(_error(status, code, silent=self.command == "HEAD"))
        elif fault is Fault.RESET_BEFORE:
            self._reset()
        elif fault is Fault.CUT_ON_THE_WAY:
            self._forward_half(asked)
            self._reset()
        elif fault is Fault.LATE:
            self._wait_for_hangup()
            self._forward(asked)
        else:
            self._spoil(fault, asked, self._forward(asked))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815 - http.server asks for these names

    def _spoil(self, fault: Fault | None, asked: Request, answered: Response) -> None:
        whole = answered.encode()
        if fault is Fault.RESET_AFTER:
            self._reset()
        elif fault is Fault.CUT_HEADERS:
            self._cut(whole[: whole.index(b"\r\n") + 2 + whole.index(b"\r\n\r\n") // 2])
        elif fault is Fault.CUT_BODY:
            self._cut(whole[: len(whole) - (len(answered.body) + 1) // 2])
        elif fault is Fault.ERROR_INSIDE and answered.body:
            self._say(_error(200, "InternalError", silent=False))
        elif fault is Fault.GATEWAY:
            self._say(_error(504, "", silent=self.command == "HEAD"))
        elif fault is Fault.IN_PIECES:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(whole), max(1, len(whole) // 500)):
                self.connection.sendall(whole[at : at + max(1, len(whole) // 500)])
        elif fault is Fault.TWICE:
            self._say(self._forward(asked))
        elif fault is Fault.SILENT:
            self._wait_for_hangup()
        else:
            self._say(answered)

    def _forward(self, asked: Request) -> Response:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            self._begin(connection, asked)
            connection.endheaders(asked.body)
            with connection.getresponse() as response:
                body = response.read()
                kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
                length = int(response.getheader("Content-Length", len(body))) if asked.method == "HEAD" else len(body)
        finally:
            connection.close()
        return Response(status=response.status, headers=self._dated(kept), body=body, length=length)

    def _forward_half(self, asked: Request) -> None:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        self._begin(connection, asked)
        connection.endheaders(asked.body[: len(asked.body) // 2] if asked.body else None)
        connection.close()

    def _without(self, asked: Request, stripped_headers: set[str]) -> Request:
        kept = {name: value for name, value in asked.headers if name.lower() not in SIGNED | stripped_headers}
        url = "http://{}:{}{}".format(*self.upstream, asked.path)
        request = AWSRequest(method=asked.method, url=url, data=asked.body, headers=kept)
        S3SigV4Auth(Credentials(*self.state.keys), "s3", "us-east-1").add_auth(request)
        headers = (("Host", "{}:{}".format(*self.upstream)), *request.headers.items())
        return replace(asked, headers=headers)

    def _begin(self, connection: http.client.HTTPConnection, asked: Request) -> None:
        connection.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
        for name, value in asked.headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(asked.body)))

    def _dated(self, headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        off = self.state.clock_offset
        if off is None:
            return tuple(headers)
        moved = [(name, value) for name, value in headers if name.lower() != "date"]
        told = next(value for name, value in headers if name.lower() == "date")
        return (*moved, ("Date", format_datetime(parsedate_to_datetime(told) + off, usegmt=True)))

    def _say(self, answered: Response) -> None:
        self.connection.sendall(answered.encode())

    def _cut(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _wait_for_hangup(self) -> None:
        select.select([self.connection], [], [], 30)
        self.close_connection = True


def _error(status: int, code: str, *, silent: bool) -> Response:
    body = b"" if silent else f"<Error><Code>{code}</Code><Message>spoilt</Message></Error>".encode()
    now = datetime.now(tz=UTC) - (timedelta(hours=1) if code == "RequestTimeTooSkewed" else timedelta())
    headers = (("Content-Type", "application/xml"), ("Date", format_datetime(now, usegmt=True)))
    return Response(status=status, headers=headers, body=body, length=len(body))
