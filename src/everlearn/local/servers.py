"""The two servers of a laptop: SeaweedFS for S3, Prefect for the schedule and the dashboard.

    services.up(Path(".everlearn"))      # starts what does not run yet; says where it is
    services.down(Path(".everlearn"))
    with LocalS3(tmp_path) as s3: ...    # one server for a test: s3.endpoint_url, s3.access_key, s3.secret_key

Each server has a folder with its data, its log, a record of its process and, readable by nobody else, its ports and
keys. Ports are drawn once and kept, so that addresses survive a restart. Both servers listen on loopback only and
send nothing home.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import secrets
import shutil
import socket
import sys
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlsplit

from everlearn.errors import ServiceError
from everlearn.local import store_probe
from everlearn.local.database import Database
from everlearn.local.process import Process, last_lines, wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
# SeaweedFS also takes each port plus 10,000; from here both stay below the range of outgoing connections.
FIRST_PORT, LAST_PORT, TWIN = 20_000, 22_700, 10_000
PATIENCE_S = 90.0
PORT_PATIENCE_S = 3.0
FREE_BYTES = 512 * 1024**2
S3_ROLES = ("master", "volume", "filer", "s3", "admin")
# Small volumes: each bucket takes one, and there are as many as fit on the free disk.
SEAWEED_FLAGS = (
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=64",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What a server keeps from one start to the next. `keys` are an access key and its secret, or empty."""

    ports: dict[str, int]
    keys: tuple[str, ...] = ()


class LocalServer(ABC):
    """A server in `directory`, started once and found again by any later command."""

    name: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.log = self.directory / "log"
        self._record = self.directory / "process.json"
        self._plan_file = self.directory / "server.json"

    @property
    def plan(self) -> ServerConfig:
        """Ports and keys, as drawn at the first start. ServiceError before that."""
        try:
            written = json.loads(self._plan_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ServiceError(f"{self.name} was never started in {self.directory}; run `everlearn up`") from None
        return ServerConfig(ports=written["ports"], keys=tuple(written["keys"]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def was_started(self) -> bool:
        """Whether there was ever a start here."""
        return self._plan_file.exists()

    def runs(self) -> bool:
        """Whether the recorded process lives."""
        return Process.recall(self._record) is not None

    def start(self) -> bool:
        """Start and wait until ready; False when it ran already. ServiceError says what is in the way."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory / "lock"):
            process = Process.recall(self._record)
            if process is not None:
                self._await(process)
                return False
            check_disk(self.directory)
            self._draw_plan()
            check_ports(self.plan, owner=self.name, remedy=self._plan_file)
            process = Process.start(self.command(), environ=os.environ | self.environ(), log=self.log)
            process.remember(self._record)
            self._await(process)
            return True

    def stop(self) -> bool:
        """Stop and wait; False when nothing ran."""
        process = Process.recall(self._record)
        if process is not None:
            process.stop()
        self._record.unlink(missing_ok=True)
        return process is not None

    def _await(self, process: Process) -> None:
        if wait(lambda: self.ready() or not process.lives(), patience_s=PATIENCE_S) and process.lives():
            return
        what = f"did not answer within {PATIENCE_S:.0f} s" if process.lives() else "ended at once"
        self.stop()
        raise ServiceError(f"{self.name} {what}; the end of {self.log} says:\n{last_lines(self.log)}")

    def _draw_plan(self) -> None:
        if not self._plan_file.exists():
            plan = ServerConfig(ports=draw_ports(self.roles), keys=self.draw_keys())
            descriptor = os.open(self._plan_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(plan), file)

    def draw_keys(self) -> tuple[str, ...]:
        """Credentials of a new server."""
        return ()

    @abstractmethod
    def command(self) -> list[str]:
        """What is executed."""

    @abstractmethod
    def environ(self) -> dict[str, str]:
        """What is added to its environment."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it does its work, asked from outside."""


class LocalS3(LocalServer):
    """SeaweedFS with one bucket, which asks for credentials and keeps conditional writes."""

    name = "SeaweedFS"
    roles = S3_ROLES

    def __init__(self, directory: Path, *, bucket: str = "everlearn") -> None:
        super().__init__(directory)
        self.bucket = bucket

    @property
    def endpoint_url(self) -> str:
        """Where S3 is served."""
        return f"http://{HOST}:{self.plan.ports['s3']}"

    @property
    def access_key(self) -> str:
        """Who may do everything here."""
        return self.plan.keys[0]

    @property
    def secret_key(self) -> str:
        """And with which secret."""
        return self.plan.keys[1]

    def draw_keys(self) -> tuple[str, ...]:
        """20 and 40 characters, as with AWS."""
        return ("EL" + secrets.token_hex(9).upper(), secrets.token_hex(20))

    def command(self) -> list[str]:
        """`weed mini` with every unsafe default turned off."""
        ports = [f"-{role}.port={port}" for role, port in self.plan.ports.items()]
        place = [f"-dir={self.directory / 'data'}", f"-ip={HOST}", f"-bucket={self.bucket}"]
        return [program("weed"), "-logtostderr=true", "mini", *place, *SEAWEED_FLAGS, *ports]

    def environ(self) -> dict[str, str]:
        """The credentials it demands, and two limits that keep it at 140 MB instead of 600."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return keys | {"GOMEMLIMIT": "200MiB", "GOGC": "50"}

    def ready(self) -> bool:
        """Whether a canary written with our keys can be read, and not without."""
        return store_probe.sings(
            self.endpoint_url, bucket=self.bucket, access_key=self.access_key, secret_key=self.secret_key
        )


class LocalPrefect(LocalServer):
    """Prefect's server and dashboard: on SQLite, which is enough for one night at a time, or on a Postgres."""

    name = "Prefect"
    roles = ("api",)

    @property
    def database(self) -> Database | None:
        """The Postgres of the next start; None is SQLite."""
        return Database.recall(self.directory / "database")

    def use(self, database: Database | None) -> None:
        """Let the next start use that Postgres, or SQLite."""
        if database is None:
            (self.directory / "database").unlink(missing_ok=True)
        else:
            database.remember(self.directory / "database")

    @property
    def url(self) -> str:
        """The dashboard."""
        return f"http://{HOST}:{self.plan.ports['api']}"

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL has to say."""
        return f"{self.url}/api"

    def command(self) -> list[str]:
        """`prefect server start`, as a module of this very interpreter."""
        port = str(self.plan.ports["api"])
        return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", port]

    def environ(self) -> dict[str, str]:
        """Its own home, its database, and no analytics; what a deleted run leaves behind is swept up daily."""
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        own = {"PREFECT_HOME": str(self.directory / "home"), "PREFECT_API_URL": self.api_url}
        kept = {"PREFECT_API_DATABASE_CONNECTION_URL": self.database.for_prefect} if self.database else {}
        return quiet | own | kept | {"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans"}

    def ready(self) -> bool:
        """Whether the API calls itself healthy."""
        return answers(f"{self.api_url}/health")


def up(directory: Path, *, bucket: str = "everlearn") -> dict[str, bool]:
    """Start both servers; which of them this call has started."""
    return {server.name: server.start() for server in servers(directory, bucket=bucket)}


def down(directory: Path) -> dict[str, bool]:
    """Stop both servers, the one that depends on the other first; which of them were running."""
    return {server.name: server.stop() for server in reversed(servers(directory))}


def servers(directory: Path, *, bucket: str = "everlearn") -> tuple[LocalS3, LocalPrefect]:
    """Both servers of a state directory, running or not."""
    return LocalS3(directory / "s3", bucket=bucket), LocalPrefect(directory / "prefect")


def environment(directory: Path) -> dict[str, str]:
    """The variables with which any process finds the servers that run in `directory`."""
    s3, prefect = servers(directory)
    found: dict[str, str] = {}
    if s3.runs():
        found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"] = s3.access_key, s3.secret_key
        found["EVERLEARN_STORE__ENDPOINT_URL"] = found["AWS_ENDPOINT_URL_S3"] = s3.endpoint_url
    if prefect.runs():
        found["PREFECT_API_URL"] = prefect.api_url
        found["PREFECT_LOGGING_EXTRA_LOGGERS"] = "everlearn"  # what our steps tell is shown with the run,
        found["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"  # and what others tell is not
        found["DO_NOT_TRACK"] = "1"
    return found


def draw_ports(roles: tuple[str, ...]) -> dict[str, int]:
    """A free port for each role, with its twin free, too."""
    free = (port for port in random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), k=200) if is_free(port))
    return dict(zip(roles, (port for port in free if is_free(port + TWIN)), strict=False))


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def check_ports(plan: ServerConfig, *, owner: str, remedy: Path) -> None:
    """Raise ServiceError if somebody else took a port since it was drawn; a server just killed may need a moment."""
    if not wait(lambda: all(is_free(port) for port in plan.ports.values()), patience_s=PORT_PATIENCE_S):
        busy = next((port for port in plan.ports.values() if not is_free(port)), 0)
        raise ServiceError(
            f"{owner} needs port {busy}, which another program uses; stop that one (`ss -ltnp`), "
            f"or change the port in {remedy}"
        )


def check_disk(directory: Path) -> None:
    """Raise ServiceError before a server starts on a disk that is all but full."""
    free = shutil.disk_usage(directory).free
    if free < FREE_BYTES:
        raise ServiceError(
            f"{directory}: only {free // 1024**2} MiB are free on this disk, {FREE_BYTES // 1024**2} are needed; "
            "make room and run the same command again"
        )


def program(name: str) -> str:
    """The path of an executable that came with our dependencies."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise ServiceError(f"the program {name!r} is missing; install the dependencies again with `make install`")
    return found


def answers(url: str) -> bool:
    """Whether a plain GET gets 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=store_probe.TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One start at a time in one directory, across processes; the kernel releases it when a process dies."""
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
