"""What S3 says when something is wrong, in words that help. Real servers, and scripted ones for what they never say."""

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
LISTED = b"<Result><IsTruncated>false</IsTruncated><UploadId>u</UploadId></Result>"


def test_a_browser_reads_an_object_by_its_link_without_credentials(s3_store: S3Store) -> None:
    s3_store.put("report", b"<p>a night</p>")
    with urlopen(s3_store.presigned_url("report", content_type="text/html")) as answer:
        assert answer.read() == b"<p>a night</p>"
        assert answer.headers["Content-Type"] == "text/html"


def test_a_missing_bucket_is_named(s3_server: S3Server) -> None:
    store = s3_server.store("no-such-bucket")
    for attempt in (lambda: store.get("a"), lambda: store.create("a", b"x"), lambda: list(store.list())):
        with pytest.raises(StoreDownError, match=r"no-such-bucket .* does not exist; create it"):
            attempt()


def test_a_wrong_secret_is_told_with_the_remedy(s3_server: S3Server, bucket: str) -> None:
    keys = (s3_server.access_key, "wrong")
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url, keys=keys)
    for attempt in (lambda: store.get("a"), lambda: store.head("a"), lambda: store.create("a", b"x")):
        with pytest.raises(StoreDownError, match=r"refuses these credentials .* set AWS_ACCESS_KEY_ID"):
            attempt()


def test_missing_credentials_are_told_with_the_remedy(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreDownError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        S3Store(bucket, endpoint_url=s3_server.endpoint_url).create("a", b"x")


def test_a_server_that_is_down_is_told_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = S3Store("bucket", endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}", keys=KEYS)
        with pytest.raises(StoreDownError, match=r"does not answer .* start it with `everlearn up`"):
            store.create("a", b"x")


def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(StoreDownError, match=r"correct store\.endpoint_url"):
        S3Store("bucket", endpoint_url="nonsense", keys=KEYS)


def test_a_bucket_name_that_cannot_be_is_named(s3_server: S3Server) -> None:
    with pytest.raises(StoreError, match=r"Invalid bucket name .*correct store\.bucket"):
        s3_server.store("NO bucket").get("a")


def test_a_key_that_s3_refuses_is_an_error_with_its_words(s3_server: S3Server, bucket: str) -> None:
    with scripted(Answer(status=400, code="InvalidArgument")) as server, pytest.raises(StoreError, match="InvalidArg"):
        server.store().create("a", b"x")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a scripted server says to every request. `silent` keeps the connection and says nothing."""

    status: int = 200
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class Script:
    """A server that plays one answer, and counts."""

    port: int
    requests: list[str]

    def store(self, *, timeout_s: float = 5.0) -> S3Store:
        return S3Store("bucket", endpoint_url=f"http://127.0.0.1:{self.port}", keys=KEYS, timeout_s=timeout_s)


@contextlib.contextmanager
def scripted(answer: Answer) -> Iterator[Script]:
    requests: list[str] = []
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            requests.append(self.command)
            if self.headers.get("Expect") and not answer.silent:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if answer.silent:
                over.wait(30)
            else:
                self.answer()
            self.close_connection = True

        def answer(self) -> None:
            body = answer.body or (f"<Error><Code>{answer.code}</Code></Error>".encode() if answer.code else b"")
            self.send_response(404 if self.command == "HEAD" and answer.status in {409, 412} else answer.status)
            for name, value in ({"Content-Length": str(len(body)), "ETag": '"e"'} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Script(port=server.server_address[1], requests=requests)
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed"), (404, "NoSuchKey")],
)
def test_every_way_to_lose_a_race_is_a_conflict_after_one_attempt(status: int, code: str) -> None:
    with scripted(Answer(status=status, code=code)) as server:
        with pytest.raises(ConflictError):
            server.store().replace("HEAD", b"x", etag='"old"')
        assert server.requests.count("PUT") == 1


def test_a_key_at_which_others_write_all_the_time_is_not_said_to_be_taken() -> None:
    with scripted(Answer(status=409, code="ConditionalRequestConflict")) as server:
        with pytest.raises(StoreDownError, match="5 writes in a row met another one"):
            server.store().create("HEAD", b"x")
        assert server.requests.count("PUT") == 5


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (507, "")])
def test_a_conditional_write_is_never_repeated_by_itself(status: int, code: str) -> None:
    with scripted(Answer(status=status, code=code)) as server:
        with pytest.raises(StoreDownError, match="look at its log and its disk"):
            server.store().create("HEAD", b"x")
        assert server.requests.count("PUT") == 1


def test_a_time_out_of_a_conditional_write_leaves_it_open_and_says_so() -> None:
    with scripted(Answer(silent=True)) as server:
        with pytest.raises(StoreDownError, match="does not answer"):
            server.store(timeout_s=0.2).create("HEAD", b"x")
        assert server.requests.count("PUT") == 1


def test_a_body_that_ends_too_early_is_no_answer() -> None:
    with (
        scripted(Answer(body=b"half", headers={"Content-Length": "8"})) as server,
        pytest.raises(StoreDownError, match="does not answer"),
    ):
        server.store().get("a")


def test_a_checksum_of_parts_is_not_taken_for_one_of_the_whole() -> None:
    headers = {"x-amz-checksum-sha256": "AAAA-2", "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    with scripted(Answer(headers=headers)) as server:
        assert server.store().head("a").sha256 is None


def test_a_server_without_checksums_is_read_all_the_same() -> None:
    with scripted(Answer(headers={"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"})) as server:
        assert server.store().head("a").sha256 is None


def test_a_server_that_ignores_conditions_is_refused() -> None:
    with (
        scripted(Answer(body=LISTED, headers={"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"})) as server,
        pytest.raises(StoreError, match=r"in spite of If-None-Match.*two publishers could overwrite each other"),
    ):
        server.store().require_conformance()


def test_every_promise_is_kept_by_a_real_server(s3_store: S3Store) -> None:
    found = s3_store.probe()
    assert {*conformance.REQUIRED, conformance.CHECKSUMS, conformance.LISTING, conformance.CLOCK} == found.keys()
    assert set(found.values()) == {None}
    assert list(s3_store.list()) == []


def test_a_server_that_leaves_out_what_was_asked_for_is_told_by_what_is_missing() -> None:
    with scripted(Answer(body=LISTED)) as server, pytest.raises(StoreDownError, match="without LastModified"):
        server.store().probe()


def test_aws_itself_is_addressed_without_an_endpoint() -> None:
    assert S3Store("bucket", keys=KEYS)._location == "bucket bucket at AWS"


def test_a_key_that_is_missing_names_the_place(s3_server: S3Server, bucket: str) -> None:
    with pytest.raises(NotFoundError, match=f"nothing does not exist in bucket {bucket}"):
        s3_server.store(bucket).get("nothing")
