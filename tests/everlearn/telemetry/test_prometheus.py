"""Metrics of a line, scraped over HTTP from a real bucket, including outages of store and Prefect."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from everlearn.cycle.inputs import CycleInputs
from everlearn.cycle.lease import Lease, last_renewal
from everlearn.cycle.record import End, close_cycle, open_cycle
from everlearn.cycle.workspace import Workspace
from everlearn.errors import StoreDownError
from everlearn.registry.versions import EventKind
from everlearn.storage.s3 import S3Store
from everlearn.telemetry.line_health import HealthReader
from everlearn.telemetry.prometheus import CachedQuery, LineCollector, QueueStatus
from tests.support.line import LINE, WHEN, candidate, open_line, publish
from tests.support.manifests import DECISION

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from everlearn.registry.versions import Registry

INPUTS = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="b", code_version="1")
QUEUE = QueueStatus(wait_s=4.0, oldest_s=7.0, waiting=2, late=1, running=1)
Samples = dict[tuple[str, ...], float]


def scrape(collector: LineCollector) -> Samples:
    """Scrape over HTTP: (metric name, values of the labels except `line`, in order of label name) to value."""
    registry = CollectorRegistry()
    registry.register(collector)
    server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.labels.pop("line") for sample in samples} == {LINE}
    return {
        (sample.name.removeprefix("everlearn_"), *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for sample in samples
    }


def collector_of(line: Registry, *, now: datetime, timeout_s: float = 5.0, **more: Any) -> LineCollector:
    reader = HealthReader(line)
    return LineCollector(LINE, health=CachedQuery(lambda: reader.read(now=now), timeout_s=timeout_s), **more)


def test_new_line_exports_the_base_model_and_no_verdict(s3_store: S3Store) -> None:
    samples = scrape(collector_of(open_line(s3_store), now=WHEN))
    assert (samples["up",], samples["champion",], samples["versions",]) == (1, 0, 0)
    assert samples["verdicts_total", "PUBLISHED"] == 0
    assert not {("seconds_since_verdict",), ("cycle_open_seconds",), ("lease_age_seconds",)} & set(samples)
    assert not [name for name, *_ in samples if name.startswith(("step_", "pass_rate", "prefect_", "queue_"))]


def test_scrape_matches_history_and_last_night(s3_store: S3Store) -> None:
    line = open_line(s3_store)
    publish(line, "one")
    publish(line, "two")
    line.rollback(reason="worse", actor="ada")
    key = candidate(line, "three").cycle_key
    work = Workspace(s3_store, LINE, key, token=1)
    steps = {"ladder": {"rollouts": 40, "verdicts": 40}, "train": {"rollouts": 160, "verdicts": 200}, "report": {}}
    for ended, (name, counts) in enumerate(steps.items()):
        spent = {"name": name, "seconds": 10.0, "cpu_seconds": 9.0, "ended": ended} | counts
        work.put(f"time/{name}", json.dumps(spent).encode())
    work.put("ladder", b"{}")
    line.record(EventKind.REJECTED, cycle_key=key, reason="no", actor="night", detail={"decision": DECISION.to_dict()})
    line.record(EventKind.NO_NEW_DATA, cycle_key="f" * 64, reason="none", actor="night", detail={})
    at = line.state().history[-1].at
    opened = open_cycle(s3_store, LINE, INPUTS, clock=lambda: at)

    with Lease(s3_store, LINE, clock=lambda: at):
        samples = scrape(collector_of(line, now=at + timedelta(seconds=90), queue=CachedQuery(lambda: QUEUE)))
    assert (samples["up",], samples["champion",], samples["versions",], samples["versions_barred",]) == (1, 1, 2, 1)
    verdicts = {end: samples["verdicts_total", end] for end in ("PUBLISHED", "REJECTED", "INSUFFICIENT", "NO_NEW_DATA")}
    assert verdicts == {"PUBLISHED": 2, "REJECTED": 1, "INSUFFICIENT": 0, "NO_NEW_DATA": 1}
    assert (samples["rollbacks_total",], samples["seconds_since_verdict",]) == (1, 90)
    assert (samples["cycle_open",], samples["cycle_open_seconds",]) == (1, 90)
    assert (samples["lease_held",], samples["lease_age_seconds",]) == (1, 90)
    assert (samples["step_seconds", "train"], samples["step_cpu_seconds", "report"]) == (10, 9)
    assert (samples["step_rollouts", "train"], samples["step_verdicts", "report"]) == (160, 0)
    assert (samples["rollouts_per_second",], samples["verdicts_per_second",]) == (10, 12)
    row = DECISION.rows[0]
    place = ("pass_rate", str(row.against), str(row.kind), row.suite)
    assert (samples[(*place, "before")], samples[(*place, "after")]) == (row.before, row.after)
    assert (samples["prefect_up",], samples["queue_wait_seconds",], samples["queue_oldest_seconds",]) == (1, 4, 7)
    assert (samples["nights_waiting",], samples["nights_late",], samples["nights_running",]) == (2, 1, 1)

    close_cycle(s3_store, opened, end=End.REJECTED)
    after = scrape(collector_of(line, now=at))
    assert (after["cycle_open",], after["lease_held",]) == (0, 0)
    assert last_renewal(s3_store, LINE) is None


def test_last_night_is_cached_until_a_newer_one(s3_store: S3Store) -> None:
    line = open_line(s3_store)
    reader = HealthReader(line)
    publish(line, "one")
    first = reader.read(now=WHEN)
    assert reader.read(now=WHEN).last_night is first.last_night
    line.record(EventKind.INSUFFICIENT, cycle_key="e" * 64, reason="could not tell", actor="night", detail={})
    last = reader.read(now=WHEN).last_night
    assert last is not None
    assert (last.end, last.steps, last.rates) == (End.INSUFFICIENT, (), ())
    assert ("rollouts_per_second",) not in scrape(collector_of(line, now=WHEN))


def test_store_outage_exports_only_up_0(s3_store: S3Store) -> None:
    away = S3Store("gone", endpoint_url="http://127.0.0.1:9", keys=("key", "secret"), timeout_s=1.0)
    collector = collector_of(open_line(away), now=WHEN, timeout_s=0.2)
    start = time.monotonic()
    assert scrape(collector) == {("up",): 0}
    assert time.monotonic() - start < 10


def test_prefect_outage_keeps_line_metrics(s3_store: S3Store) -> None:
    def refuse() -> QueueStatus:
        raise StoreDownError("no answer")

    samples = scrape(collector_of(open_line(s3_store), now=WHEN, queue=CachedQuery(refuse)))
    assert (samples["up",], samples["prefect_up",]) == (1, 0)
    assert ("nights_waiting",) not in samples
    idle = QueueStatus(wait_s=None, oldest_s=0.0, waiting=0, late=0, running=0)
    assert ("queue_wait_seconds",) not in scrape(
        collector_of(open_line(s3_store), now=WHEN, queue=CachedQuery(lambda: idle))
    )


def counting() -> tuple[list[int], Callable[[], int]]:
    queries: list[int] = []

    def query() -> int:
        queries.append(len(queries))
        return len(queries)

    return queries, query


def test_query_result_is_cached_until_its_ttl() -> None:
    now = [0.0]
    queries, query = counting()
    cached = CachedQuery(query, ttl_s=5.0, clock=lambda: now[0])
    assert [cached.get(), cached.get()] == [1, 1]
    now[0] = 5.0
    assert cached.get() == 2
    assert len(queries) == 2


def test_slow_query_times_out_and_is_not_repeated() -> None:
    free = threading.Event()
    queries, query = counting()

    def hang() -> int:
        free.wait()
        return query()

    cached = CachedQuery(hang, ttl_s=0.0, timeout_s=0.05)
    assert [cached.get(), cached.get()] == [None, None]
    free.set()
    patient = CachedQuery(hang, ttl_s=0.0)
    assert patient.get() is not None
    assert len(queries) <= 3


def test_unexpected_error_propagates() -> None:
    def broken() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CachedQuery(broken).get()
