"""Errors of S3 and their remedies: on a real server, and on scripted ones for responses that it never gives."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage import conformance
from everlearn.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import S3Server

KEYS = ("access", "secret")
LISTING = b"<Result><IsTruncated>false</IsTruncated><UploadId>u</UploadId></Result>"


def test_a_presigned_url_needs_no_credentials(s3_store: S3Store) -> None:
    s3_store.put("report", b"<p>a night</p>")
    with urlopen(s3_store.presigned_url("report", content_type="text/html")) as response:
        assert response.read() == b"<p>a night</p>"
        assert response.headers["Content-Type"] == "text/html"


def test_a_missing_bucket_is_named(s3_server: S3Server) -> None:
    store = s3_server.store("no-such-bucket")
    for attempt in (lambda: store.get("a"), lambda: store.create("a", b"x"), lambda: list(store.list())):
        with pytest.raises(StoreDownError, match=r"no-such-bucket .* does not exist; create it"):
            attempt()


def test_a_wrong_secret_names_the_remedy(s3_server: S3Server, bucket: str) -> None:
    keys = (s3_server.access_key, "wrong")
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url, keys=keys)
    for attempt in (lambda: store.get("a"), lambda: store.head("a"), lambda: store.create("a", b"x")):
        with pytest.raises(StoreDownError, match=r"refuses these credentials .* set AWS_ACCESS_KEY_ID"):
            attempt()


def test_missing_credentials_name_the_remedy(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreDownError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        S3Store(bucket, endpoint_url=s3_server.endpoint_url).create("a", b"x")


def test_an_unreachable_server_names_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = S3Store("bucket", endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}", keys=KEYS)
        with pytest.raises(StoreDownError, match=r"does not answer .* start it with `everlearn up`"):
            store.create("a", b"x")


def test_an_endpoint_that_is_not_a_url_is_named() -> None:
    with pytest.raises(StoreDownError, match=r"correct store\.endpoint_url"):
        S3Store("bucket", endpoint_url="nonsense", keys=KEYS)


def test_an_invalid_bucket_name_is_named(s3_server: S3Server) -> None:
    with pytest.raises(StoreError, match=r"Invalid bucket name .*correct store\.bucket"):
        s3_server.store("NO bucket").get("a")


def test_another_refusal_carries_the_code_of_s3(s3_server: S3Server, bucket: str) -> None:
    with (
        scripted(ScriptedResponse(status=400, code="InvalidArgument")) as server,
        pytest.raises(StoreError, match="InvalidArg"),
    ):
        server.store().create("a", b"x")


@dataclass(frozen=True, kw_only=True)
class ScriptedResponse:
    """The response of a scripted server to every request. `silent` keeps the connection open without a response."""

    status: int = 200
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class ScriptedServer:
    """A running scripted server and the methods of its requests."""

    port: int
    requests: list[str]

    def store(self, *, timeout_s: float = 5.0) -> S3Store:
        return S3Store("bucket", endpoint_url=f"http://127.0.0.1:{self.port}", keys=KEYS, timeout_s=timeout_s)


@contextlib.contextmanager
def scripted(response: ScriptedResponse) -> Iterator[ScriptedServer]:
    requests: list[str] = []
    stopped = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            requests.append(self.command)
            if self.headers.get("Expect") and not response.silent:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if response.silent:
                stopped.wait(30)
            else:
                self.respond()
            self.close_connection = True

        def respond(self) -> None:
            body = response.body or (f"<Error><Code>{response.code}</Code></Error>".encode() if response.code else b"")
            self.send_response(404 if self.command == "HEAD" and response.status in {409, 412} else response.status)
            for name, value in ({"Content-Length": str(len(body)), "ETag": '"e"'} | response.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield ScriptedServer(port=server.server_address[1], requests=requests)
        finally:
            stopped.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (404, "NoSuchKey")],
)
def test_every_lost_race_is_a_conflict_after_one_attempt(status: int, code: str) -> None:
    with scripted(ScriptedResponse(status=status, code=code)) as server:
        with pytest.raises(ConflictError):
            server.store().replace("HEAD", b"x", etag='"old"')
        assert server.requests.count("PUT") == 1


def test_create_gives_up_after_five_concurrent_writes() -> None:
    with scripted(ScriptedResponse(status=409, code="ConditionalRequestConflict")) as server:
        with pytest.raises(StoreDownError, match="5 writes in a row met another one"):
            server.store().create("HEAD", b"x")
        assert server.requests.count("PUT") == 5


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (507, "")])
def test_a_conditional_write_is_sent_once(status: int, code: str) -> None:
    with scripted(ScriptedResponse(status=status, code=code)) as server:
        with pytest.raises(StoreDownError, match="look at its log and its disk"):
            server.store().create("HEAD", b"x")
        assert server.requests.count("PUT") == 1


def test_a_timeout_of_a_conditional_write_is_not_retried() -> None:
    with scripted(ScriptedResponse(silent=True)) as server:
        with pytest.raises(StoreDownError, match="does not answer"):
            server.store(timeout_s=0.2).create("HEAD", b"x")
        assert server.requests.count("PUT") == 1


def test_a_truncated_body_is_an_error() -> None:
    with (
        scripted(ScriptedResponse(body=b"half", headers={"Content-Length": "8"})) as server,
        pytest.raises(StoreDownError, match="does not answer"),
    ):
        server.store().get("a")


def test_a_composite_checksum_is_not_a_sha256() -> None:
    headers = {"x-amz-checksum-sha256": "AAAA-2", "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    with scripted(ScriptedResponse(headers=headers)) as server:
        assert server.store().head("a").sha256 is None


def test_a_server_without_checksums_can_be_read() -> None:
    with scripted(ScriptedResponse(headers={"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"})) as server:
        assert server.store().head("a").sha256 is None


def test_a_server_that_ignores_conditions_is_refused() -> None:
    with (
        scripted(ScriptedResponse(body=LISTING, headers={"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"})) as server,
        pytest.raises(StoreError, match=r"in spite of If-None-Match.*two publishers could overwrite each other"),
    ):
        server.store().require_conformance()


def test_a_real_server_passes_every_check(s3_store: S3Store) -> None:
    faults = s3_store.probe()
    assert {*conformance.REQUIRED, conformance.CHECKSUMS, conformance.LISTING, conformance.CLOCK} == faults.keys()
    assert set(faults.values()) == {None}
    assert list(s3_store.list()) == []


def test_an_incomplete_response_names_the_missing_field() -> None:
    with (
        scripted(ScriptedResponse(body=LISTING)) as server,
        pytest.raises(StoreDownError, match="without LastModified"),
    ):
        server.store().probe()


def test_aws_is_the_default_endpoint() -> None:
    assert S3Store("bucket", keys=KEYS)._location == "bucket bucket at AWS"


def test_a_missing_key_names_the_bucket(s3_server: S3Server, bucket: str) -> None:
    with pytest.raises(NotFoundError, match=f"nothing does not exist in bucket {bucket}"):
        s3_server.store(bucket).get("nothing")
