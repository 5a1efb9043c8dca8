"""S3Store under network faults: a real server behind a proxy that injects them.

The property of every call: it returns a true result; or it raises a StoreError, and either the old or the new bytes are
stored. The true state is read from the server directly, past the proxy.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.cli import doctor
from everlearn.cli.context import Installation
from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage import conformance, multipart
from everlearn.storage.immutable_objects import write_once
from tests.support.line import open_line, publish
from tests.support.s3_fault_proxy import (
    IMMEDIATE_FAULTS,
    UNPROCESSED_FAULTS,
    Fault,
    Proxy,
    Request,
    disable_retry_backoff,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from everlearn.storage.s3 import S3Store
    from tests.conftest import S3Server

OLD, NEW = b"old bytes, which are stored " * 9, b"new bytes, which are written " * 9
TOLERATED = {
    Fault.SLOW_DOWN,
    Fault.RESET_BEFORE,
    Fault.CUT_ON_THE_WAY,
    Fault.RESET_AFTER,
    Fault.GATEWAY,
    Fault.IN_PIECES,
    Fault.TWICE,
}
REFUSAL_FAULTS = {Fault.CONFLICT, Fault.PRECONDITION}
FIVE_MIB = 5 * 1024**2
unique = itertools.count()


@dataclass(frozen=True, kw_only=True)
class FaultyBucket:
    """One bucket: through the proxy, through it with a short timeout, and directly."""

    proxy: Proxy
    proxied: S3Store
    impatient: S3Store
    direct: S3Store

    def stored(self, key: str) -> bytes | None:
        try:
            return self.direct.get(key).data
        except NotFoundError:
            return None


@pytest.fixture(scope="module")
def faulty(s3_server: S3Server, proxy: Proxy) -> Iterator[FaultyBucket]:
    bucket = s3_server.create_bucket()
    with pytest.MonkeyPatch.context() as patch:
        disable_retry_backoff(patch)
        yield FaultyBucket(
            proxy=proxy,
            proxied=proxy.store(bucket),
            impatient=proxy.store(bucket, timeout_s=0.3),
            direct=s3_server.store(bucket),
        )


READS: dict[str, Callable[[S3Store, str], Any]] = {
    "get": lambda store, key: (store.get(key).data, store.get(key).etag),
    "read": lambda store, key: b"".join(store.read(key)),
    "read from the middle": lambda store, key: b"".join(store.read(key, start=100)),
    "read from the end": lambda store, key: b"".join(store.read(key, start=len(OLD))),
    "head": lambda store, key: store.head(key),
    "list": lambda store, key: list(store.list(key)),
    "list nothing": lambda store, key: list(store.list(f"{key}/none")),
    "versions": lambda store, key: list(store.versions(key)),
    "abort uploads": lambda store, key: store.abort_uploads(key, before=datetime.now(tz=UTC)),
}


@pytest.mark.parametrize("fault", IMMEDIATE_FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("operation", READS)
def test_a_read_is_true_or_a_store_error(faulty: FaultyBucket, operation: str, fault: Fault) -> None:
    key = f"read/{next(unique)}"
    faulty.direct.put(key, OLD)
    expected = READS[operation](faulty.direct, key)
    with faulty.proxy.faults(fault):
        try:
            result = READS[operation](faulty.proxied, key)
        except StoreError:
            assert fault not in TOLERATED
            return
    assert result == expected


@pytest.mark.parametrize("operation", ["get", "head"])
@pytest.mark.parametrize("fault", IMMEDIATE_FAULTS, ids=lambda fault: fault.name)
def test_a_missing_object_is_never_read(faulty: FaultyBucket, operation: str, fault: Fault) -> None:
    with faulty.proxy.faults(fault), pytest.raises(StoreError) as raised:
        READS[operation](faulty.proxied, "never")
    assert fault not in TOLERATED or raised.type is NotFoundError


@dataclass(frozen=True, kw_only=True)
class Write:
    """A write. `before` and `after` are the stored bytes (None: no object); `allowed` is whether its condition holds."""

    act: Callable[[S3Store, str, str], object]
    before: bytes | None
    allowed: bool = True
    after: bytes | None = NEW
    conditional: bool = True


WRITES = {
    "create": Write(act=lambda store, key, _: store.create(key, NEW), before=None),
    "create over an object": Write(act=lambda store, key, _: store.create(key, NEW), before=OLD, allowed=False),
    "replace": Write(act=lambda store, key, etag: store.replace(key, NEW, etag=etag), before=OLD),
    "replace a changed object": Write(
        act=lambda store, key, _: store.replace(key, NEW, etag='"0123456789abcdef0123456789abcdef"'),
        before=OLD,
        allowed=False,
    ),
    "replace a deleted object": Write(
        act=lambda store, key, _: store.replace(key, NEW, etag='"0123456789abcdef0123456789abcdef"'),
        before=None,
        allowed=False,
    ),
    "put": Write(act=lambda store, key, _: store.put(key, NEW), before=OLD, conditional=False),
    "touch": Write(act=lambda store, key, _: store.touch(key), before=OLD, after=OLD, conditional=False),
    "delete": Write(act=lambda store, key, _: store.delete(key), before=OLD, after=None, conditional=False),
}


def check_write(faulty: FaultyBucket, write: Write, faults: tuple[Fault | None, ...]) -> None:
    """Write once under these faults, and compare the result with the stored bytes."""
    key = f"written/{next(unique)}"
    etag = "" if write.before is None else faulty.direct.put(key, write.before)
    result: object = None
    error: StoreError | None = None
    with faulty.proxy.faults(*faults) as requests:
        try:
            result = write.act(faulty.proxied, key, etag)
        except StoreError as raised:
            error = raised
    stored = faulty.stored(key)
    writes = [request for request in requests if request.method in {"PUT", "POST"}]
    if error is None:
        assert write.allowed
        assert stored == write.after
        assert result is None or result == faulty.direct.head(key).etag
    elif isinstance(error, ConflictError):
        assert stored == write.before
        assert not write.allowed or REFUSAL_FAULTS & set(faults)
    else:
        assert stored in {write.before, write.after}
    if not write.allowed:
        assert stored == write.before
    assert len({request.body for request in writes}) <= 1
    if write.conditional:
        assert len(writes) <= 1 + faults.count(Fault.CONFLICT)
        assert all({name.lower() for name, _ in each.headers} & {"if-match", "if-none-match"} for each in writes)


@pytest.mark.parametrize("fault", [None, *IMMEDIATE_FAULTS], ids=lambda fault: fault.name if fault else "none")
@pytest.mark.parametrize("operation", WRITES)
def test_a_write_reports_its_outcome(faulty: FaultyBucket, operation: str, fault: Fault | None) -> None:
    check_write(faulty, WRITES[operation], (fault,))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(WRITES)),
    st.lists(st.one_of(st.none(), st.sampled_from(IMMEDIATE_FAULTS)), min_size=2, max_size=5),
)
def test_a_write_reports_its_outcome_under_many_faults(
    faulty: FaultyBucket, operation: str, faults: list[Fault | None]
) -> None:
    check_write(faulty, WRITES[operation], tuple(faults))


@pytest.mark.parametrize(
    "fault", [fault for fault in IMMEDIATE_FAULTS if fault not in UNPROCESSED_FAULTS], ids=lambda fault: fault.name
)
@pytest.mark.parametrize("operation", ["create", "replace"])
def test_a_write_with_a_lost_response_is_recognized(faulty: FaultyBucket, operation: str, fault: Fault) -> None:
    key = f"recognized/{next(unique)}"
    etag = faulty.direct.put(key, OLD) if operation == "replace" else ""
    with faulty.proxy.faults(fault):
        result = WRITES[operation].act(faulty.proxied, key, etag)
    assert faulty.stored(key) == NEW
    assert result == faulty.direct.head(key).etag


def test_equal_bytes_of_another_writer_are_not_ones_own(faulty: FaultyBucket) -> None:
    faulty.direct.create("equal", NEW)
    with faulty.proxy.faults(Fault.TWICE), pytest.raises(ConflictError):
        faulty.proxied.create("equal", NEW)
    etag = faulty.direct.put("other", OLD)
    faulty.direct.replace("other", NEW, etag=etag)
    with faulty.proxy.faults(Fault.RESET_AFTER), pytest.raises(StoreDownError):
        faulty.proxied.replace("other", NEW, etag=etag)


def test_an_unknown_outcome_is_found_by_the_next_attempt(faulty: FaultyBucket) -> None:
    with faulty.proxy.faults(Fault.RESET_AFTER, Fault.SLOW_DOWN), pytest.raises(StoreDownError):
        faulty.proxied.create("open", NEW)
    with pytest.raises(ConflictError):
        faulty.proxied.create("open", NEW)
    write_once(faulty.proxied, "open", NEW)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.LATE], ids=lambda fault: fault.name)
def test_a_write_carried_out_after_the_timeout_is_harmless(faulty: FaultyBucket, fault: Fault) -> None:
    key = f"late/{next(unique)}"
    etag = faulty.direct.put(key, OLD)
    with faulty.proxy.faults(fault):
        try:
            faulty.impatient.replace(key, NEW, etag=etag)
        except StoreDownError as error:
            assert "does not answer" in str(error)  # noqa: PT017 - the write may also succeed
    eventually(lambda: faulty.stored(key) == NEW)
    with pytest.raises(ConflictError):
        faulty.proxied.replace(key, b"another", etag=etag)
    assert faulty.stored(key) == NEW


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds, for at most ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_silent_server_times_out(faulty: FaultyBucket) -> None:
    faulty.direct.put("silent", OLD)
    with faulty.proxy.faults(*[Fault.SILENT] * 4), pytest.raises(StoreDownError, match="does not answer"):
        faulty.impatient.get("silent")
    assert faulty.proxied.get("silent").data == OLD


@pytest.mark.parametrize("operation", ["get", "head", "create"])
def test_clock_skew_is_not_reported_as_a_wrong_key(faulty: FaultyBucket, operation: str) -> None:
    with faulty.proxy.faults(Fault.SKEWED), pytest.raises(StoreDownError, match="set the clock of the one that is off"):
        READS[operation](faulty.proxied, "skewed") if operation in READS else faulty.proxied.create("skewed", NEW)


def test_a_real_server_refuses_a_skewed_clock(faulty: FaultyBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now(tz=UTC) + timedelta(hours=1))
    with pytest.raises(StoreDownError, match="set the clock"):
        faulty.direct.get("anything")


def test_now_is_the_servers_clock_or_an_error(faulty: FaultyBucket) -> None:
    for fault in IMMEDIATE_FAULTS:
        with faulty.proxy.faults(fault):
            try:
                result = faulty.proxied.now()
            except StoreError:
                assert fault not in TOLERATED
            else:
                assert abs(result - datetime.now(tz=UTC)) < timedelta(minutes=1)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a file of two parts."""
    monkeypatch.setattr(multipart, "SINGLE_REQUEST_BYTES", FIVE_MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", FIVE_MIB)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(FIVE_MIB + 7))
    return path


def is_initiation(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("?uploads")


def is_second_part(request: Request) -> bool:
    return "partNumber=2" in request.path


STAGES = {
    "on initiation": is_initiation,
    "in a part": is_second_part,
    "on completion": lambda request: request.completes_upload,
}
NOT_SLOW = {Fault.CONFLICT, Fault.PRECONDITION, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.CUT_BODY, Fault.TWICE}


def uploads() -> Iterator[Any]:
    for stage, fault in itertools.product(STAGES, IMMEDIATE_FAULTS):
        slow = () if stage == "on completion" and fault in NOT_SLOW else (pytest.mark.slow,)
        yield pytest.param(stage, fault, marks=slow, id=f"{fault.name} {stage}")


@pytest.mark.parametrize(("stage", "fault"), [*uploads()])
def test_a_large_file_is_stored_whole_or_not_at_all(
    faulty: FaultyBucket, large: Path, stage: str, fault: Fault
) -> None:
    key = f"large/{next(unique)}"
    progress: list[int] = []
    error: StoreError | None = None
    with faulty.proxy.faults(fault, on=STAGES[stage]) as requests:
        try:
            faulty.proxied.upload(key, large, progress=progress.append)
        except StoreError as raised:
            error = raised
    stored = faulty.stored(key)
    if error is None:
        assert stored == large.read_bytes()
        assert sum(progress) == len(stored)
    else:
        assert stored is None
        assert sum(progress) == 0
        assert not isinstance(error, ConflictError) or fault in REFUSAL_FAULTS
    if stage == "on completion":
        initiated = sum(is_initiation(request) for request in requests)
        assert initiated == (2 if fault is Fault.CONFLICT else 1)
        assert (error is None) == (fault is Fault.CONFLICT or fault not in UNPROCESSED_FAULTS)
    later = faulty.direct.now() + timedelta(days=1)
    incomplete = faulty.direct.abort_uploads(key, before=later)
    assert incomplete <= (1 if stage == "on initiation" else 0)
    assert faulty.direct.abort_uploads(key, before=later) == 0
    faulty.proxied.delete(key)


def test_upload_gives_up_after_five_concurrent_writes(faulty: FaultyBucket, large: Path) -> None:
    with faulty.proxy.faults(*[Fault.CONFLICT] * 5, on=STAGES["on completion"]):  # noqa: SIM117 - one line each
        with pytest.raises(StoreDownError, match="5 uploads in a row"):
            faulty.proxied.upload("met", large)
    assert faulty.stored("met") is None
    assert faulty.direct.abort_uploads("met", before=faulty.direct.now() + timedelta(days=1)) == 0


@pytest.mark.parametrize(
    ("header", "failing"),
    [("if-match", {conformance.UPDATE}), ("if-none-match", {conformance.CREATE, conformance.PARTS})],
)
def test_nothing_is_published_where_conditions_are_ignored(
    proxy: Proxy, proxied_store: S3Store, header: str, failing: set[str]
) -> None:
    proxy.stripped_headers = {header}
    try:
        faults = proxied_store.probe()
        assert {name for name, fault in faults.items() if fault} == failing
        assert all("in spite of If-" in str(faults[name]) for name in failing)
        with pytest.raises(StoreError, match=r"in spite of If-.*two publishers could overwrite each other"):
            publish(open_line(proxied_store), "one")
    finally:
        proxy.stripped_headers = set()
    assert [info.key for info in proxied_store.list() if info.key.endswith("HEAD")] == []
    publish(open_line(proxied_store), "one")


def test_doctor_names_the_failing_checks(
    proxy: Proxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {{bucket: {bucket}, endpoint_url: '{proxy.endpoint_url}'}}\n", encoding="utf-8")
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), proxy.keys, strict=True):
        monkeypatch.setenv(name, value)
    place = Installation(home=tmp_path / "home", params=params)
    proxy.stripped_headers = {"if-match", "if-none-match"}
    try:
        result = doctor.run_check("S3", doctor.check_s3, installation=place)
    finally:
        proxy.stripped_headers = set()
    assert not result.ok
    assert "conditional create: overwrites an object in spite of If-None-Match" in result.detail
    assert "conditional update: overwrites newer bytes in spite of If-Match" in result.detail
    assert conformance.PARTS in result.detail
    assert doctor.run_check("S3", doctor.check_s3, installation=place).ok


def test_a_skewed_server_clock_is_detected(proxy: Proxy, proxied_store: S3Store) -> None:
    proxy.clock_offset = timedelta(hours=2)
    try:
        faults = proxied_store.probe()
    finally:
        proxy.clock_offset = None
    assert {name for name, fault in faults.items() if fault} == {conformance.CLOCK}
    assert "dates a new object" in str(faults[conformance.CLOCK])


def test_network_faults_are_not_reported_as_check_failures(faulty: FaultyBucket) -> None:
    for at, fault in itertools.product(range(1, 21, 5), (Fault.RESET_AFTER, Fault.TWICE)):
        with faulty.proxy.faults(*[None] * at, fault):
            try:
                faults = faulty.proxied.probe()
            except StoreDownError:
                continue
        assert {name: fault for name, fault in faults.items() if fault} == {}


def test_bytes_pass_the_proxy_unchanged(faulty: FaultyBucket) -> None:
    data = os.urandom(300_000)
    faulty.proxied.create("random", data)
    for fault in (None, Fault.IN_PIECES):
        with faulty.proxy.faults(fault):
            assert faulty.proxied.get("random").data == data
    assert faulty.proxied.head("random").sha256 == hashlib.sha256(data).hexdigest()
