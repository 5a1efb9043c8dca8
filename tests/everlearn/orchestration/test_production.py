"""Prefect on a real Postgres: a scheduled night, a restored backup, and the loss of the database."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner, Result

from everlearn.cli import app
from everlearn.errors import BadInputError
from everlearn.local.postgres_url import PostgresUrl
from everlearn.local.prefect_server import LocalPrefect
from everlearn.orchestration.deployments import apply, read_plan
from everlearn.orchestration.schedules import find_night, set_paused, set_schedule, start_night
from everlearn.registry.connect import open_registry
from tests.support.night import LONG, ROOT, write_shard, write_suite
from tests.support.prefect import Nights
from tests.support.scheduled_nights import history, run_workers_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

    from tests.conftest import S3Server
    from tests.support.postgres import Postgres

LINE = "production"
FILE = ROOT / "infra" / "prefect.yaml"
MORE = [f"{a}*x^3 + {b}*cos(x) + {a}*exp({b}*x)" for a in range(1, 6) for b in range(1, 6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """A line whose Prefect server runs on Postgres, and the directory of its nights."""

    postgres: Postgres
    server: LocalPrefect
    nights: Nights

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with temporary_settings({PREFECT_API_URL: self.server.api_url}), get_client(sync_client=True) as found:
            yield found

    def everlearn(self, *words: str) -> Result:
        folder = self.nights.folder
        place = ("--home", str(folder / ".everlearn"), "--params", str(folder / "params.yaml"))
        with temporary_settings({PREFECT_API_URL: self.server.api_url}):
            return CliRunner().invoke(app, [*place, *words])

    def lose_database(self) -> None:
        """Replace the database with an empty one."""
        self.server.stop()
        self.postgres.drop("prefect")
        self.postgres.create("prefect")

    def add_problems(self, name: str, problems: list[str]) -> None:
        write_shard(self.nights.folder / ".everlearn" / "inbox" / LINE / name, problems)


@pytest.fixture(scope="module")
def production(
    postgres: Postgres, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Production]:
    folder = tmp_path_factory.mktemp("production")
    write_suite(folder)
    server = LocalPrefect(folder / "server")
    server.set_database(PostgresUrl.parse(postgres.create("prefect")))
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        patch.setenv("EVERLEARN_STORE__LINE", LINE)
        patch.chdir(folder)
        bucket = s3_server.create_bucket()
        nights = Nights(server=s3_server, bucket=bucket, folder=folder, prefect_url=server.api_url)
        settings = nights.settings(line=LINE).model_dump(mode="json")
        (folder / "params.yaml").write_text(json.dumps(settings), encoding="utf-8")
        made = Production(postgres=postgres, server=server, nights=nights)
        made.add_problems("a.jsonl", LONG)
        with made.client() as client:
            apply(read_plan(FILE, line=LINE, directory=folder), client)
        yield made


@pytest.fixture(scope="module")
def ran(production: Production) -> Production:
    """One scheduled night has ended; after it the schedule was changed and paused."""
    with production.client() as client:
        night = find_night(client, line=LINE)
        set_schedule(client, night, cron="* * * * *", timezone="UTC")
        # Wait for the run, not only for its verdict: then the cycle is closed.
        run_workers_until(lambda: bool(nights_of(client)), nights=production.nights)
        set_schedule(client, night, cron="30 2 * * *", timezone="Europe/Berlin")
        set_paused(client, night, paused=True)
    return production


@pytest.mark.slow
def test_a_scheduled_night_is_stored_in_postgres(ran: Production) -> None:
    with ran.client() as client:
        names = nights_of(client)
        assert history(ran.nights, find_night(client, line=LINE))[0] in {"published", "rejected"}
    assert any(name.endswith((" · FAIL", " PASS", " INSUFFICIENT")) for name in names), names
    assert int(ran.postgres.execute("SELECT count(*) FROM flow_run", name="prefect")) >= len(names)
    assert not list(Path(ran.server.directory).rglob("*.db")), "no SQLite database"


@pytest.mark.slow
def test_a_backup_restores_deployments_schedules_and_runs(ran: Production) -> None:
    dump = ran.postgres.folder / "prefect.dump"
    with ran.client() as client:
        before = state_of(client)
    ran.postgres.run("pg_dump", "-Fc", "-f", str(dump), "prefect")
    ran.lose_database()
    ran.postgres.run("pg_restore", "--no-owner", "--role=prefect", "-d", "prefect", str(dump))
    ran.server.start()
    with ran.client() as client:
        assert state_of(client) == before
        night = find_night(client, line=LINE)
        assert (night.cron, night.timezone, night.paused) == ("30 2 * * *", "Europe/Berlin", True)
        set_paused(client, night, paused=False)
        assert not find_night(client, line=LINE).paused, "the database is writable"
        set_paused(client, night, paused=True)
    assert any(name.startswith("night 20") for name, _ in before["runs"].values())


@pytest.mark.slow
def test_a_line_survives_the_loss_of_the_database(ran: Production) -> None:
    shown = [ran.everlearn(word, "--json").stdout for word in ("status", "history")]
    before = open_registry(ran.nights.settings(line=LINE)).state()
    ran.lose_database()
    ran.server.start()
    assert [ran.everlearn(word, "--json").stdout for word in ("status", "history")] == shown
    error = ran.everlearn("schedule", "show").exception
    assert isinstance(error, BadInputError)
    assert "run `everlearn deploy" in str(error)

    assert ran.everlearn("deploy", "--file", str(FILE), "--yes").exit_code == 0
    ran.add_problems("b.jsonl", MORE)
    with ran.client() as client:
        night = find_night(client, line=LINE)
        assert (night.cron, night.paused) == ("0 2 * * *", False), "the schedule of a first deployment"
        start_night(client, night)
        run_workers_until(lambda: len(history(ran.nights, night)) > len(before.cycles), nights=ran.nights)
        set_paused(client, night, paused=True)
    after = open_registry(ran.nights.settings(line=LINE)).state()
    assert after.history[: len(before.history)] == before.history
    assert len(after.cycles) == len(history(ran.nights, night)), "a night ends once"
    assert [event.sequence for event in after.history] == list(range(1, len(after.history) + 1))
    assert after.next_version == f"v{len(after.versions) + 1:04d}"


def state_of(client: SyncPrefectClient) -> dict[str, Any]:
    """Return deployments with schedules, automations, pools, limits, and the runs that have started."""
    return {
        "deployments": {
            each.name: (each.paused, each.tags, [(one.schedule, one.active, one.slug) for one in each.schedules])
            for each in client.read_deployments()
        },
        "automations": sorted(each.name for each in client.read_automations()),
        "pools": sorted(each.name for each in client.read_work_pools()),
        "limits": sorted((each.name, each.limit) for each in client.read_global_concurrency_limits()),
        "runs": runs_of(client),
    }


def runs_of(client: SyncPrefectClient) -> dict[str, tuple[str, str | None]]:
    """Return name and type of state of each run that is not merely scheduled."""
    found = client.read_flow_runs(limit=200)
    return {str(each.id): (each.name, each.state_type) for each in found if each.state_type is not StateType.SCHEDULED}


def nights_of(client: SyncPrefectClient) -> list[str]:
    """Return the names of the nights that have completed, without those that found another one at work."""
    done = [name for name, state in runs_of(client).values() if state == "COMPLETED"]
    nights = [name for name in done if name.startswith("night 20") and f"· line {LINE} ·" in name]
    return [name for name in nights if not name.endswith(" skipped")]
