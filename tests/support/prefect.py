"""Fixtures: a Prefect server and a Postgres server for the session, and nights that run as child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.local.prefect_server import LocalPrefect
from tests.support.night import LONG, ROOT, tiny, write_shard, write_suite
from tests.support.postgres import MISSING, PROGRAM_DIRECTORIES, Postgres, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.conftest import S3Server


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPrefect]:
    """A real Prefect server on a free port."""
    with LocalPrefect(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="session")
def prefect_url(prefect_server: LocalPrefect) -> str:
    """URL of the server's API."""
    return prefect_server.api_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real Postgres server; tests that use it are skipped where none is installed."""
    if not PROGRAM_DIRECTORIES:
        pytest.skip(MISSING)
    with postgres_server() as server:
        yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Result of a child process that ran a night."""

    code: int
    stderr: str
    ended: dict[str, Any]

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Nights:
    """Runs tiny nights on one bucket, in one directory."""

    server: S3Server
    bucket: str
    folder: Path
    prefect_url: str

    @property
    def data(self) -> Path:
        return self.folder / "new"

    def settings(self, **changes: Any) -> Settings:
        return tiny(self.server, self.bucket, **changes)

    def run(
        self,
        *,
        die_at: str = "",
        data: Path | None = None,
        again: bool = False,
        may_decode: bool = True,
        **changes: Any,
    ) -> Ran:
        """Run one night in a child process; its last line of output is the result."""
        from flows.run_cycle import CycleConfig  # tests that start no night do not pay for importing Prefect

        config = CycleConfig(data=data or self.data, again=again, settings=self.settings(**changes))
        given = self.folder / "config.json"
        given.write_text(config.model_dump_json(), encoding="utf-8")
        environ = os.environ | {
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "PREFECT_API_URL": self.prefect_url,
            "PREFECT_LOGGING_EXTRA_LOGGERS": "everlearn",
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
            "EVERLEARN_TEST_DIE_AT": die_at,
            "EVERLEARN_TEST_NO_DECODING": "" if may_decode else "1",
        }
        command = [sys.executable, str(ROOT / "tests" / "flows" / "run_night.py"), str(given)]
        done = subprocess.run(command, cwd=self.folder, env=environ, check=False, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        ended = json.loads(lines[-1]) if done.returncode == 0 else {}
        return Ran(code=done.returncode, stderr=done.stderr, ended=ended)


@pytest.fixture
def nights(s3_server: S3Server, bucket: str, tmp_path: Path, prefect_url: str) -> Nights:
    """A fresh bucket, a skill suite and a shard of 25 new problems."""
    write_suite(tmp_path)
    write_shard(tmp_path / "new" / "a.jsonl", LONG)
    return Nights(server=s3_server, bucket=bucket, folder=tmp_path, prefect_url=prefect_url)
