"""A real Postgres server on a free port, with passwords, in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn.local.ports import draw_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNUSER = "/usr/sbin/runuser"  # a user's PATH may lack it
PROGRAM_DIRECTORIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
PASSWORD = "s3cr3t word/@#"  # every character that must be percent-encoded
ENCODED = "s3cr3t%20word%2F%40%23"
MISSING = "no Postgres is installed here (Debian: postgresql)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running server."""

    programs: Path
    folder: Path
    port: int

    def url(self, name: str, *, role: str = "prefect", password: str = ENCODED) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{name}"

    def create(self, name: str, *, owner: str = "prefect") -> str:
        """Create an empty database; return its URL."""
        self.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"')
        return self.url(name)

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str, *, name: str = "postgres") -> str:
        """Execute SQL as the superuser; return the output of psql."""
        return self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", name, "-c", statement)

    def run(self, program: str, *words: str) -> str:
        """Run one of Postgres's programs as the superuser."""
        place = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres"]
        return run([str(self.programs / program), *place, *words]).strip()


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Start a server (about two seconds) with a role `prefect`; stop and delete it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="everlearn-postgres-"))
    programs, data, port = PROGRAM_DIRECTORIES[0], folder / "data", draw_ports(("postgres",))["postgres"]
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    try:
        options = ["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-N", "-E", "UTF8"]
        run([str(programs / "initdb"), "-D", str(data), *options, "--locale=C.UTF-8"])
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60"
        run([str(programs / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-o", settings, "-w", "start"])
        server = Postgres(programs=programs, folder=folder, port=port)
        server.execute(f"CREATE ROLE prefect LOGIN PASSWORD '{PASSWORD}'")
        try:
            yield server
        finally:
            run([str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder)


def run(command: list[str]) -> str:
    """Run a command, as the user postgres if we are root: Postgres refuses to run as root."""
    mine = [RUNUSER, "-u", "postgres", "--", *command] if os.getuid() == 0 else command
    done = subprocess.run(mine, cwd="/", check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout
