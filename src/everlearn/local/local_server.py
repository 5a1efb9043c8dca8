"""Base class of the local servers: a background process with its own directory.

    with LocalS3(tmp_path) as s3: ...    # one server for a test: s3.endpoint_url, s3.access_key, s3.secret_key

The directory holds the server's data, its log, a record of its process and `server.json` (mode 0600) with its ports and
keys. Ports are drawn once and kept, so that addresses survive a restart. All servers listen on loopback only.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlsplit

from everlearn.errors import DiskFullError, ServiceError
from everlearn.local.ports import check_ports, draw_ports
from everlearn.local.process import Process, last_lines, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT_S = 90.0
REQUEST_TIMEOUT_S = 5.0
MIN_FREE_BYTES = 512 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Configuration that survives restarts. `keys` are an access key ID and its secret, or empty."""

    ports: dict[str, int]
    keys: tuple[str, ...] = ()


class LocalServer(ABC):
    """A server in `directory` that any later command can find, use and stop."""

    name: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.log = self.directory / "log"
        self._record = self.directory / "process.json"
        self._config_file = self.directory / "server.json"

    @property
    def config(self) -> ServerConfig:
        """Ports and keys, as drawn at the first start. ServiceError before that."""
        try:
            fields = json.loads(self._config_file.read_text(encoding="utf-8"))
            ports = {role: int(fields["ports"][role]) for role in self.roles}
            return ServerConfig(ports=ports, keys=tuple(fields["keys"]))
        except FileNotFoundError:
            raise ServiceError(f"{self.name} was never started in {self.directory}; run `everlearn up`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"{self._config_file} does not hold the ports and keys of {self.name} ({error!r}); correct it, or delete it, "
                "and `everlearn down` and `everlearn up` draw others"
            ) from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def was_started(self) -> bool:
        """Return whether the server has ever been started in this directory."""
        return self._config_file.exists()

    def is_running(self) -> bool:
        """Return whether the recorded process is running."""
        return Process.load(self._record) is not None

    def start(self) -> bool:
        """Start the server and wait until it is ready; return False if it was running already.

        Raises:
            ServiceError: A port is taken, or the server does not become ready.
            DiskFullError: Less than 512 MiB are free.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # Prefect's database holds notification targets and the key that decrypts them
        with exclusive_lock(self.directory / "lock"):
            process = Process.load(self._record)
            if process is not None:
                self.prepare()
                self._wait_until_ready(process, was_running=True)
                return False
            check_free_disk(self.directory)
            self._create_config()
            check_ports(self.config.ports.values(), owner=self.name, config=self._config_file)
            process = Process.start(self.command(), environ=os.environ | self.environ(), log=self.log)
            process.save(self._record)
            self._wait_until_ready(process)
            return True

    def stop(self) -> bool:
        """Stop the server and wait for its end; return False if it was not running."""
        process = Process.load(self._record)
        if process is not None:
            process.stop()
        if Process.load(self._record) is None:  # else another command has started the server again meanwhile
            self._record.unlink(missing_ok=True)
        return process is not None

    def _wait_until_ready(self, process: Process, *, was_running: bool = False) -> None:
        if wait_until(lambda: self.is_ready() or not process.is_running(), timeout_s=START_TIMEOUT_S):
            if process.is_running():
                return
            fault = "ended at once"
        else:
            fault = f"did not answer within {START_TIMEOUT_S:.0f} s"
        if was_running and process.is_running():  # a night may be using it
            fault += ", and runs on as it was; `everlearn down` stops it, and `everlearn up` starts it again"
        else:
            self.stop()
        raise ServiceError(f"{self.name} {fault}; the last lines of {self.log}:\n{last_lines(self.log)}")

    def _create_config(self) -> None:
        if not self._config_file.exists():
            config = ServerConfig(ports=draw_ports(self.roles), keys=self.draw_keys())
            descriptor = os.open(self._config_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(config), file)

    def draw_keys(self) -> tuple[str, ...]:
        """Return new credentials for the server; none by default."""
        return ()

    def prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """Prepare a server that is running for this command; nothing by default."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def environ(self) -> dict[str, str]:
        """Return the variables to add to the server's environment."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the server answers requests."""


def check_free_disk(directory: Path) -> None:
    """Raise DiskFullError if less than 512 MiB are free on the disk of `directory`."""
    free = shutil.disk_usage(directory).free
    if free < MIN_FREE_BYTES:
        raise DiskFullError(
            f"{directory}: only {free // 1024**2} MiB are free on this disk, {MIN_FREE_BYTES // 1024**2} are needed; "
            "free some space and run the same command again"
        )


def find_program(name: str) -> str:
    """Return the path of an executable that a dependency installed. ServiceError if it is missing."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        raise ServiceError(f"the program {name!r} is missing; install the dependencies again with `make install`")
    return path


def is_healthy(url: str) -> bool:
    """Return whether a plain GET of `url` is answered with status 200 within 5 s."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel releases it when the process dies."""
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
