"""Two lines on two hosts that share a Prefect server and a bucket; one host without any outside connection."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from everlearn.cycle.record import current_cycle
from everlearn.data.snapshot_store import load_snapshot
from everlearn.local.postgres_url import PostgresUrl
from everlearn.local.prefect_server import LocalPrefect
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.schedules import find_night, set_schedule
from everlearn.registry.connect import open_registry
from tests.support.hosts import Host, Network, Sniffer, network, why_unavailable
from tests.support.line import ends_of
from tests.support.night import LONG, ROOT, tiny, write_shard, write_suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from everlearn.settings import Settings
    from tests.conftest import S3Server
    from tests.support.postgres import Postgres

FILE = ROOT / "infra" / "prefect.yaml"
EVERLEARN = [sys.executable, "-c", "from everlearn.cli import main; main()"]
LINES = {"alpha": LONG, "beta": [f"{a}*x^3 + {b}*cos(x) + {a}*exp({b}*x)" for a in range(1, 6) for b in range(1, 6)]}
TIMEOUT_S = 420.0


@pytest.fixture
def net() -> Iterator[Network]:
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(f"no hosts can be made here: {reason}")
    with network() as made:
        yield made


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A Prefect server on Postgres and a bucket, with the addresses that the hosts reach them at."""

    client: SyncPrefectClient
    here: Settings
    environ: dict[str, str]

    def of(self, line: str) -> Settings:
        """Return settings with which this process reads a line."""
        return self.here.model_copy(update={"store": self.here.store.model_copy(update={"line": line})})

    def runs(self, line: str) -> list[FlowRun]:
        """Return the runs that have started."""
        mine = DeploymentFilter(tags=DeploymentFilterTags(all_=[f"line:{line}"]))
        found = self.client.read_flow_runs(deployment_filter=mine)
        return [each for each in found if each.state_type not in {StateType.SCHEDULED, StateType.PENDING}]

    def night(self, line: str) -> FlowRun:
        """Return the only night of a line."""
        (found,) = (each for each in self.runs(line) if each.name.startswith("night "))
        return found


@pytest.fixture
def site(net: Network, postgres: Postgres, s3_server: S3Server, bucket: str, tmp_path: Path) -> Iterator[Site]:
    server = LocalPrefect(tmp_path / "server")
    server.set_database(PostgresUrl.parse(postgres.create(f"site-{bucket}")))
    with (
        server,
        temporary_settings({PREFECT_API_URL: server.api_url}),
        get_client(sync_client=True) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        environ = plain_environ() | {
            "AWS_ACCESS_KEY_ID": s3_server.access_key,
            "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
            "EVERLEARN_STORE__ENDPOINT_URL": net.reach(urlsplit(s3_server.endpoint_url).port or 0),
            "PREFECT_API_URL": f"{net.reach(server.config.ports['api'])}/api",
        }
        yield Site(client=client, here=tiny(s3_server, bucket), environ=environ)


@pytest.mark.slow
def test_two_lines_on_two_hosts_end_with_a_verdict_each(site: Site, net: Network, tmp_path: Path) -> None:
    place = tmp_path / "srv"
    for line in LINES:
        apply(read_plan(FILE, line=line, directory=place), site.client)
    site.client.upsert_global_concurrency_limit_by_name("gpu", 2)
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(net.host(name, at=place, shows=prepare_host(tmp_path / name, site.here)))
            for name in ("one", "two")
        ]
        due = datetime.now(tz=UTC) + timedelta(minutes=1, seconds=30)
        for line in LINES:
            night = find_night(site.client, line=line)
            set_schedule(site.client, night, cron=f"{due.minute} {due.hour} * * *", timezone="UTC")
        for host in hosts:
            stack.enter_context(worker_on(host, site.environ))
        deadline = time.monotonic() + TIMEOUT_S
        while not all(ends_of(open_registry(site.of(line))) and is_over(site, line) for line in LINES):
            assert time.monotonic() < deadline, "".join((host.shows / "log").read_text() for host in hosts)
            time.sleep(1)

    one, other = (site.night(line) for line in LINES)
    assert one.start_time is not None
    assert other.start_time is not None
    assert max(one.start_time, other.start_time) < min(one.end_time or due, other.end_time or due), "at the same time"
    logs = [(host.shows / "log").read_text() for host in hosts]
    begun = [[f"/runs/flow-run/{each.id}" in log for log in logs] for each in (one, other)]
    assert sorted(begun) == [[False, True], [True, False]], "one on each; a worker that comes too late only says so"
    for line, problems in LINES.items():
        assert [each.state_type for each in site.runs(line)] == ["COMPLETED"] * 2, "the night, and its climb"
        [end] = ends_of(open_registry(site.of(line)))
        assert str(end) in {"published", "rejected"}, "one verdict"
        assert learned_from(site, line) <= set(problems)
        assert current_cycle(store_of(site), line) is None
        assert artifact_runs(site, line) <= {each.id for each in site.runs(line)}
        assert count_ended_events(site, line) == 1
    heads = {held.key.split("/")[0] for held in store_of(site).list("")}
    assert heads == {*LINES, "dvc"}, "every object belongs to a line"


@pytest.mark.slow
def test_no_packet_leaves_the_host(net: Network, tmp_path: Path, s3_server: S3Server) -> None:
    settings = tiny(s3_server, "everlearn").model_dump(mode="json")
    settings["store"]["endpoint_url"] = None
    place, environ = tmp_path / "srv", plain_environ()
    with (
        net.host("alone", at=place, shows=prepare_host(tmp_path / "alone", settings)) as host,
        Sniffer(host) as sniffer,
    ):
        try:
            for words in (
                ["up"],
                ["deploy", "--file", str(FILE), "--yes"],
                ["schedule", "show"],
                ["cycle", "--data", ".everlearn/inbox/alpha"],
                ["doctor"],
            ):
                run_at_terminal(host, words, environ=environ)
                assert sniffer.destinations() == set(), words
            shown = host.run([*EVERLEARN, "history", "--json"], environ=environ)
            assert "rejected" in shown or "published" in shown, "a night with its verdict"
            with worker_on(host, environ):
                deadline = time.monotonic() + 60
                while "0" in worker_counts(host, environ):
                    assert time.monotonic() < deadline, (host.shows / "log").read_text()
            assert sniffer.destinations() == set(), "workers"
        finally:
            host.run([*EVERLEARN, "down"], environ=environ)
        host.run(["sh", "-c", "getent hosts example.org || true"], environ=environ)
        assert any("example" in each for each in sniffer.destinations()), "the sniffer works"


def prepare_host(folder: Path, settings: Settings | dict[str, Any]) -> Path:
    """Create a host's directory with settings, suites, and new problems for both lines."""
    write_suite(folder)
    content = settings if isinstance(settings, dict) else settings.model_dump(mode="json")
    (folder / "params.yaml").write_text(json.dumps(content), encoding="utf-8")
    for line, problems in LINES.items():
        write_shard(folder / ".everlearn" / "inbox" / line / "a.jsonl", problems)
    return folder


def plain_environ() -> dict[str, str]:
    """Return this process's environment without addresses of servers and without opt-outs of telemetry."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "AWS_", "PREFECT_"))
    }
    for name in ("DO_NOT_TRACK", "CI", "GITHUB_ACTIONS"):
        kept.pop(name, None)
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def worker_on(host: Host, environ: dict[str, str]) -> Iterator[None]:
    """Run `everlearn worker` on a host, with one run at a time in each pool."""
    own = environ | {"PREFECT_HOME": str(host.at / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    process = host.start([*EVERLEARN, "worker", "--limit", "1"], environ=own, log=host.shows / "log")
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def run_at_terminal(host: Host, words: list[str], *, environ: dict[str, str]) -> None:
    """Run a command at a pseudo-terminal, and ignore its exit code: some libraries send telemetry only there."""
    command = shlex.join([*EVERLEARN, *words])
    host.run(["sh", "-c", f"script -qec {shlex.quote(command)} log >/dev/null; true"], environ=environ)


def worker_counts(host: Host, environ: dict[str, str]) -> str:
    shown = json.loads(host.run([*EVERLEARN, "schedule", "show", "--json"], environ=environ))
    return " ".join(str(count) for count in shown["workers"].values())


def is_over(site: Site, line: str) -> bool:
    return all(each.state_type not in {StateType.RUNNING, StateType.CANCELLING} for each in site.runs(line))


def store_of(site: Site) -> Any:
    from everlearn.registry.connect import open_store

    return open_store(site.here.store)


def learned_from(site: Site, line: str) -> set[str]:
    """Return the problems in the line's snapshots."""
    store = store_of(site)
    digests = {held.key.split("/")[2] for held in store.list(f"{line}/snapshots/")}
    return {entry.statement for digest in digests for entry in load_snapshot(store, line, digest).entries}


def artifact_runs(site: Site, line: str) -> set[Any]:
    """Return the runs that have created artifacts of the line."""
    found = [each for each in site.client.read_artifacts() if (each.key or "").endswith(f"-{line}")]
    assert {"night", "gate", "report"} <= {str(each.key).rpartition("-")[0] for each in found}
    return {each.flow_run_id for each in found}


def count_ended_events(site: Site, line: str) -> int:
    """Count the `everlearn.night.ended` events of a line."""
    query = {"filter": {"event": {"name": ["everlearn.night.ended"]}}}
    found = site.client._client.post("/events/filter", json=query).json()["events"]
    return sum(each["resource"]["prefect.resource.id"] == f"everlearn.line.{line}" for each in found)
