"""A proxy in front of a real S3 server that injects network faults into chosen requests.

Signatures stay valid: the client signs for the proxy's address, and the `Host` header is forwarded unchanged, as is
every request without a fault.
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
    """A fault of one request. The value describes it."""

    SLOW_DOWN = "503 SlowDown, not forwarded"
    CONFLICT = "409 ConditionalRequestConflict, not forwarded"
    PRECONDITION = "412 PreconditionFailed, not forwarded"
    SKEWED = "403 RequestTimeTooSkewed, not forwarded"
    DENIED = "403 AccessDenied, not forwarded"
    RESET_BEFORE = "connection reset, not forwarded"
    CUT_ON_THE_WAY = "connection reset after half of the request was forwarded"
    RESET_AFTER = "forwarded, response dropped"
    CUT_HEADERS = "forwarded, response truncated within its headers"
    CUT_BODY = "forwarded, response body truncated to a half"
    ERROR_INSIDE = "forwarded, error document with status 200"
    GATEWAY = "forwarded, 504 from a gateway"
    IN_PIECES = "forwarded, response sent in small pieces"
    TWICE = "forwarded twice, second response"
    SILENT = "forwarded, no response until the client gives up"
    LATE = "forwarded only after the client has given up"


REFUSALS = {
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.PRECONDITION: (412, "PreconditionFailed"),
    Fault.SKEWED: (403, "RequestTimeTooSkewed"),
    Fault.DENIED: (403, "AccessDenied"),
}
UNPROCESSED_FAULTS = {*REFUSALS, Fault.RESET_BEFORE, Fault.CUT_ON_THE_WAY}
HANGING_FAULTS = {Fault.SILENT, Fault.LATE}  # the client waits until its timeout
IMMEDIATE_FAULTS = tuple(fault for fault in Fault if fault not in HANGING_FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as received."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def completes_upload(self) -> bool:
        """Whether it completes a multipart upload."""
        return self.method == "POST" and "uploadId=" in self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response to send. `length` is the Content-Length, which a response to HEAD has without a body."""

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
    """A running proxy. `choose` selects the fault of a request; `requests` are all received ones, in order.

    Headers named in `stripped_headers` (lower case) are removed, and the request signed again with `keys`: this is a
    server that ignores them. `clock_offset` is added to the date of every response.
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
        """Return the bucket as a `Store` behind this proxy."""
        return S3Store(bucket, endpoint_url=self.endpoint_url, keys=self.keys, timeout_s=timeout_s)

    @contextlib.contextmanager
    def faults(self, *faults: Fault | None, on: Callable[[Request], bool] = lambda _: True) -> Iterator[list[Request]]:
        """Inject these faults, one each, into the next requests for which `on` is true; yield the requests received."""
        pending, lock, first = list(faults), threading.Lock(), len(self.requests)
        received: list[Request] = []

        def choose(request: Request) -> Fault | None:
            with lock:
                return pending.pop(0) if pending and on(request) else None

        self.choose = choose
        try:
            yield received
        finally:
            self.choose = lambda _: None
            received += self.requests[first:]
            self.requests.clear()


@contextlib.contextmanager
def run_proxy(server: S3Server) -> Iterator[Proxy]:
    """Run a proxy on a free port in front of the server."""
    proxy = Proxy(keys=(server.access_key, server.secret_key))
    address = urlsplit(server.endpoint_url)
    upstream_address = (str(address.hostname), int(address.port or 0))

    class Handler(_Handler):
        upstream: ClassVar = upstream_address
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
    """Let boto3 retry without a pause."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Write no traceback: many tests let the client hang up."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[tuple[str, int]]
    state: ClassVar[Proxy]

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        request = Request(method=self.command, path=self.path, headers=tuple(headers), body=body)
        self.state.requests.append(request)
        if self.state.stripped_headers & {name.lower() for name, _ in headers}:
            request = self._strip_headers(request)
        fault = self.state.choose(request)
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            self._send(_error(status, code, has_body=self.command != "HEAD"))
        elif fault is Fault.RESET_BEFORE:
            self._reset()
        elif fault is Fault.CUT_ON_THE_WAY:
            self._forward_half(request)
            self._reset()
        elif fault is Fault.LATE:
            self._wait_for_hangup()
            self._forward(request)
        else:
            self._respond(fault, request, self._forward(request))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the names http.server requires

    def _respond(self, fault: Fault | None, request: Request, response: Response) -> None:
        data = response.encode()
        if fault is Fault.RESET_AFTER:
            self._reset()
        elif fault is Fault.CUT_HEADERS:
            self._send_and_close(data[: data.index(b"\r\n") + 2 + data.index(b"\r\n\r\n") // 2])
        elif fault is Fault.CUT_BODY:
            self._send_and_close(data[: len(data) - (len(response.body) + 1) // 2])
        elif fault is Fault.ERROR_INSIDE and response.body:
            self._send(_error(200, "InternalError", has_body=True))
        elif fault is Fault.GATEWAY:
            self._send(_error(504, "", has_body=self.command != "HEAD"))
        elif fault is Fault.IN_PIECES:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = max(1, len(data) // 500)
            for start in range(0, len(data), size):
                self.connection.sendall(data[start : start + size])
        elif fault is Fault.TWICE:
            self._send(self._forward(request))
        elif fault is Fault.SILENT:
            self._wait_for_hangup()
        else:
            self._send(response)

    def _forward(self, request: Request) -> Response:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            self._send_head(connection, request)
            connection.endheaders(request.body)
            with connection.getresponse() as response:
                body = response.read()
                headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
                length = int(response.getheader("Content-Length", len(body))) if request.method == "HEAD" else len(body)
        finally:
            connection.close()
        return Response(status=response.status, headers=self._shift_date(headers), body=body, length=length)

    def _forward_half(self, request: Request) -> None:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        self._send_head(connection, request)
        connection.endheaders(request.body[: len(request.body) // 2] if request.body else None)
        connection.close()

    def _strip_headers(self, request: Request) -> Request:
        removed = SIGNED | self.state.stripped_headers
        headers = {name: value for name, value in request.headers if name.lower() not in removed}
        url = "http://{}:{}{}".format(*self.upstream, request.path)
        signed = AWSRequest(method=request.method, url=url, data=request.body, headers=headers)
        S3SigV4Auth(Credentials(*self.state.keys), "s3", "us-east-1").add_auth(signed)
        return replace(request, headers=(("Host", "{}:{}".format(*self.upstream)), *signed.headers.items()))

    def _send_head(self, connection: http.client.HTTPConnection, request: Request) -> None:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))

    def _shift_date(self, headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        offset = self.state.clock_offset
        if offset is None:
            return tuple(headers)
        others = [(name, value) for name, value in headers if name.lower() != "date"]
        date = next(value for name, value in headers if name.lower() == "date")
        return (*others, ("Date", format_datetime(parsedate_to_datetime(date) + offset, usegmt=True)))

    def _send(self, response: Response) -> None:
        self.connection.sendall(response.encode())

    def _send_and_close(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _wait_for_hangup(self) -> None:
        select.select([self.connection], [], [], 30)
        self.close_connection = True


def _error(status: int, code: str, *, has_body: bool) -> Response:
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode() if has_body else b""
    now = datetime.now(tz=UTC) - (timedelta(hours=1) if code == "RequestTimeTooSkewed" else timedelta())
    headers = (("Content-Type", "application/xml"), ("Date", format_datetime(now, usegmt=True)))
    return Response(status=status, headers=headers, body=body, length=len(body))
