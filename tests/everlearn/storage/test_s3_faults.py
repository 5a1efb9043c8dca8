"""What a store says is true, whatever the network does: a real server behind a proxy that spoils requests.

The law of every call: it returns, and what it says is so; or it raises an error of ours, and nothing but the old or the
wanted bytes is there. The server is also asked directly, past the proxy, to know what is so.
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
from everlearn.cli.context import Place as Home
from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage import conformance, multipart
from everlearn.storage.objects import write_once
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

OLD, NEW = b"old bytes, which are there " * 9, b"new bytes, which are wanted " * 9
SURVIVED = {
    Fault.SLOW_DOWN, Fault.RESET_BEFORE, Fault.CUT_ON_THE_WAY, Fault.RESET_AFTER,
    Fault.GATEWAY, Fault.IN_PIECES, Fault.TWICE,
}  # fmt: skip
REFUSED = {Fault.CONFLICT, Fault.PRECONDITION}
FIVE_MIB = 5 * 1024**2
number = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Place:
    """One bucket, through the proxy and directly."""

    proxy: Proxy
    through: S3Store
    hasty: S3Store
    direct: S3Store

    def held(self, key: str) -> bytes | None:
        try:
            return self.direct.get(key).data
        except NotFoundError:
            return None


@pytest.fixture(scope="module")
def place(s3_server: S3Server, proxy: Proxy) -> Iterator[Place]:
    bucket = s3_server.create_bucket()
    with pytest.MonkeyPatch.context() as patch:
        disable_retry_backoff(patch)
        yield Place(
            proxy=proxy,
            through=proxy.store(bucket),
            hasty=proxy.store(bucket, timeout_s=0.3),
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
@pytest.mark.parametrize("what", READS)
def test_what_is_read_is_the_truth_or_an_error_of_ours(place: Place, what: str, fault: Fault) -> None:
    key = f"read/{next(number)}"
    place.direct.put(key, OLD)
    truth = READS[what](place.direct, key)
    with place.proxy.faults(fault):
        try:
            told = READS[what](place.through, key)
        except StoreError:
            assert fault not in SURVIVED
            return
    assert told == truth


@pytest.mark.parametrize("what", ["get", "head"])
@pytest.mark.parametrize("fault", IMMEDIATE_FAULTS, ids=lambda fault: fault.name)
def test_what_is_not_there_is_never_read(place: Place, what: str, fault: Fault) -> None:
    with place.proxy.faults(fault), pytest.raises(StoreError) as raised:
        READS[what](place.through, "never")
    assert fault not in SURVIVED or raised.type is NotFoundError


@dataclass(frozen=True, kw_only=True)
class Write:
    """A write of NEW (None: of nothing at all). `before` is what is there; `may` whether the condition holds."""

    act: Callable[[S3Store, str, str], object]
    before: bytes | None
    may: bool = True
    wanted: bytes | None = NEW
    conditional: bool = True


def upload(store: S3Store, key: str, folder: Path) -> str:
    path = folder / "file"
    path.write_bytes(NEW)
    store.upload(key, path)
    return store.head(key).etag


WRITES = {
    "create": Write(act=lambda store, key, _: store.create(key, NEW), before=None),
    "create, but it is taken": Write(act=lambda store, key, _: store.create(key, NEW), before=OLD, may=False),
    "replace": Write(act=lambda store, key, etag: store.replace(key, NEW, etag=etag), before=OLD),
    "replace, but it has changed": Write(
        act=lambda store, key, _: store.replace(key, NEW, etag='"0123456789abcdef0123456789abcdef"'),
        before=OLD,
        may=False,
    ),
    "replace, but it is gone": Write(
        act=lambda store, key, _: store.replace(key, NEW, etag='"0123456789abcdef0123456789abcdef"'),
        before=None,
        may=False,
    ),
    "put": Write(act=lambda store, key, _: store.put(key, NEW), before=OLD, conditional=False),
    "touch": Write(act=lambda store, key, _: store.touch(key), before=OLD, wanted=OLD, conditional=False),
    "delete": Write(act=lambda store, key, _: store.delete(key), before=OLD, wanted=None, conditional=False),
}


def written(place: Place, write: Write, faults: tuple[Fault | None, ...]) -> None:
    """Do it once, and hold what was said against what is so."""
    key = f"written/{next(number)}"
    etag = "" if write.before is None else place.direct.put(key, write.before)
    told: object = None
    failed: StoreError | None = None
    with place.proxy.faults(*faults) as seen:
        try:
            told = write.act(place.through, key, etag)
        except StoreError as error:
            failed = error
    after = place.held(key)
    asked = [each for each in seen if each.method in {"PUT", "POST"}]
    if failed is None:
        assert write.may
        assert after == write.wanted
        assert told is None or told == place.direct.head(key).etag
    elif isinstance(failed, ConflictError):
        assert after == write.before
        assert not write.may or REFUSED & set(faults)
    else:
        assert after in {write.before, write.wanted}
    if not write.may:
        assert after == write.before
    assert len({each.body for each in asked}) <= 1
    if write.conditional:
        assert len(asked) <= 1 + faults.count(Fault.CONFLICT)
        assert all({name.lower() for name, _ in each.headers} & {"if-match", "if-none-match"} for each in asked)


@pytest.mark.parametrize("fault", [None, *IMMEDIATE_FAULTS], ids=lambda fault: fault.name if fault else "none")
@pytest.mark.parametrize("what", WRITES)
def test_what_was_written_is_told_as_it_went(place: Place, what: str, fault: Fault | None) -> None:
    written(place, WRITES[what], (fault,))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(WRITES)),
    st.lists(st.one_of(st.none(), st.sampled_from(IMMEDIATE_FAULTS)), min_size=2, max_size=5),
)
def test_what_was_written_is_told_as_it_went_however_much_goes_wrong(
    place: Place, what: str, faults: list[Fault | None]
) -> None:
    written(place, WRITES[what], tuple(faults))


@pytest.mark.parametrize(
    "fault", [fault for fault in IMMEDIATE_FAULTS if fault not in UNPROCESSED_FAULTS], ids=lambda fault: fault.name
)
@pytest.mark.parametrize("what", ["create", "replace"])
def test_a_write_whose_answer_is_lost_is_known_again_and_not_taken_for_somebody_elses(
    place: Place, what: str, fault: Fault
) -> None:
    key = f"known/{next(number)}"
    etag = place.direct.put(key, OLD) if what == "replace" else ""
    with place.proxy.faults(fault):
        told = WRITES[what].act(place.through, key, etag)
    assert place.held(key) == NEW
    assert told == place.direct.head(key).etag


def test_equal_bytes_of_somebody_else_are_not_taken_for_ones_own(place: Place) -> None:
    place.direct.create("equal", NEW)
    with place.proxy.faults(Fault.TWICE), pytest.raises(ConflictError):
        place.through.create("equal", NEW)
    etag = place.direct.put("other", OLD)
    place.direct.replace("other", NEW, etag=etag)
    with place.proxy.faults(Fault.RESET_AFTER), pytest.raises(StoreDownError):
        place.through.replace("other", NEW, etag=etag)


def test_while_nobody_can_say_whose_it_is_the_write_stays_open_and_is_found_by_the_next_attempt(place: Place) -> None:
    with place.proxy.faults(Fault.RESET_AFTER, Fault.SLOW_DOWN), pytest.raises(StoreDownError):
        place.through.create("open", NEW)
    with pytest.raises(ConflictError):
        place.through.create("open", NEW)
    write_once(place.through, "open", NEW)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.LATE], ids=lambda fault: fault.name)
def test_a_write_that_lands_after_its_writer_gave_up_does_no_harm(place: Place, fault: Fault) -> None:
    key = f"late/{next(number)}"
    etag = place.direct.put(key, OLD)
    with place.proxy.faults(fault):
        try:
            place.hasty.replace(key, NEW, etag=etag)
        except StoreDownError as error:
            assert "does not answer" in str(error)  # noqa: PT017 - it may succeed as well
    eventually(lambda: place.held(key) == NEW)
    with pytest.raises(ConflictError):
        place.through.replace(key, b"another", etag=etag)
    assert place.held(key) == NEW


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for it, for at most ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_that_says_nothing_is_given_up_after_the_time_out(place: Place) -> None:
    place.direct.put("silent", OLD)
    with place.proxy.faults(*[Fault.SILENT] * 4), pytest.raises(StoreDownError, match="does not answer"):
        place.hasty.get("silent")
    assert place.through.get("silent").data == OLD


@pytest.mark.parametrize("what", ["get", "head", "create"])
def test_a_clock_that_is_off_is_not_taken_for_a_wrong_key(place: Place, what: str) -> None:
    with place.proxy.faults(Fault.SKEWED), pytest.raises(StoreDownError, match="set the clock of the one that is off"):
        READS[what](place.through, "skewed") if what in READS else place.through.create("skewed", NEW)


def test_a_real_server_refuses_a_clock_that_is_off_and_is_understood(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now(tz=UTC) + timedelta(hours=1))
    with pytest.raises(StoreDownError, match="set the clock"):
        place.direct.get("anything")


def test_the_servers_clock_is_told_or_nothing(place: Place) -> None:
    for fault in IMMEDIATE_FAULTS:
        with place.proxy.faults(fault):
            try:
                told = place.through.now()
            except StoreError:
                assert fault not in SURVIVED
            else:
                assert abs(told - datetime.now(tz=UTC)) < timedelta(minutes=1)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two parts."""
    monkeypatch.setattr(multipart, "SINGLE_REQUEST_BYTES", FIVE_MIB)
    monkeypatch.setattr(multipart, "PART_BYTES", FIVE_MIB)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(FIVE_MIB + 7))
    return path


def begins(asked: Request) -> bool:
    return asked.method == "POST" and asked.path.endswith("?uploads")


def is_part(asked: Request) -> bool:
    return "partNumber=2" in asked.path


STAGES = {"at the beginning": begins, "in a part": is_part, "on completion": lambda asked: asked.completes}
QUICKLY = {Fault.CONFLICT, Fault.PRECONDITION, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.CUT_BODY, Fault.TWICE}


def uploads() -> Iterator[Any]:
    for stage, fault in itertools.product(STAGES, IMMEDIATE_FAULTS):
        slow = () if stage == "on completion" and fault in QUICKLY else (pytest.mark.slow,)
        yield pytest.param(stage, fault, marks=slow, id=f"{fault.name} {stage}")


@pytest.mark.parametrize(("stage", "fault"), [*uploads()])
def test_a_large_file_is_there_whole_or_not_at_all(place: Place, large: Path, stage: str, fault: Fault) -> None:
    key = f"large/{next(number)}"
    heard: list[int] = []
    failed: StoreError | None = None
    with place.proxy.faults(fault, on=STAGES[stage]) as seen:
        try:
            place.through.upload(key, large, progress=heard.append)
        except StoreError as error:
            failed = error
    held = place.held(key)
    if failed is None:
        assert held == large.read_bytes()
        assert sum(heard) == len(held)
    else:
        assert held is None
        assert sum(heard) == 0
        assert not isinstance(failed, ConflictError) or fault in REFUSED
    if stage == "on completion":
        begun = sum(begins(asked) for asked in seen)
        assert begun == (2 if fault is Fault.CONFLICT else 1)
        assert (failed is None) == (fault is Fault.CONFLICT or fault not in UNPROCESSED_FAULTS)
    later = place.direct.now() + timedelta(days=1)
    left = place.direct.abort_uploads(key, before=later)
    assert left <= (1 if stage == "at the beginning" else 0)
    assert place.direct.abort_uploads(key, before=later) == 0
    place.through.delete(key)


def test_a_key_at_which_uploads_meet_others_all_the_time_is_given_up_and_nothing_is_left(
    place: Place, large: Path
) -> None:
    with place.proxy.faults(*[Fault.CONFLICT] * 5, on=STAGES["on completion"]):  # noqa: SIM117 - one line each
        with pytest.raises(StoreDownError, match="5 uploads in a row"):
            place.through.upload("met", large)
    assert place.held("met") is None
    assert place.direct.abort_uploads("met", before=place.direct.now() + timedelta(days=1)) == 0


@pytest.mark.parametrize(
    ("header", "broken"),
    [("if-match", {conformance.UPDATE}), ("if-none-match", {conformance.CREATE, conformance.PARTS})],
)
def test_a_server_that_ignores_a_condition_is_found_out_and_nothing_is_published_there(
    proxy: Proxy, proxied_store: S3Store, header: str, broken: set[str]
) -> None:
    proxy.stripped_headers = {header}
    try:
        found = proxied_store.probe()
        assert {name for name, fault in found.items() if fault} == broken
        assert all("in spite of If-" in str(found[name]) for name in broken)
        with pytest.raises(StoreError, match=r"in spite of If-.*two publishers could overwrite each other"):
            publish(open_line(proxied_store), "one")
    finally:
        proxy.stripped_headers = set()
    assert [info.key for info in proxied_store.list() if info.key.endswith("HEAD")] == []
    publish(open_line(proxied_store), "one")


def test_the_doctor_says_which_promise_is_missing(
    proxy: Proxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {{bucket: {bucket}, endpoint_url: '{proxy.endpoint_url}'}}\n", encoding="utf-8")
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), proxy.keys, strict=True):
        monkeypatch.setenv(name, value)
    place = Home(home=tmp_path / "home", params=params)
    proxy.stripped_headers = {"if-match", "if-none-match"}
    try:
        found = doctor.check("S3", doctor.look_at_s3, place=place)
    finally:
        proxy.stripped_headers = set()
    assert not found.ok
    assert "conditional create: overwrites an object in spite of If-None-Match" in found.detail
    assert "conditional update: overwrites newer bytes in spite of If-Match" in found.detail
    assert conformance.PARTS in found.detail
    assert doctor.check("S3", doctor.look_at_s3, place=place).ok


def test_a_server_whose_date_is_off_is_found_out(proxy: Proxy, proxied_store: S3Store) -> None:
    proxy.clock_offset = timedelta(hours=2)
    try:
        found = proxied_store.probe()
    finally:
        proxy.clock_offset = None
    assert {name for name, fault in found.items() if fault} == {conformance.CLOCK}
    assert "dates a new object" in str(found[conformance.CLOCK])


def test_a_promise_is_never_called_broken_because_the_network_is(place: Place) -> None:
    for at, fault in itertools.product(range(1, 21, 5), (Fault.RESET_AFTER, Fault.TWICE)):
        with place.proxy.faults(*[None] * at, fault):
            try:
                found = place.through.probe()
            except StoreDownError:
                continue
        assert {name: fault for name, fault in found.items() if fault} == {}


def test_what_is_read_through_the_proxy_is_what_was_written(place: Place) -> None:
    data = os.urandom(300_000)
    place.through.create("random", data)
    for fault in (None, Fault.IN_PIECES):
        with place.proxy.faults(fault):
            assert place.through.get("random").data == data
    assert place.through.head("random").sha256 == hashlib.sha256(data).hexdigest()
