"""The local Prefect server with its dashboard, on SQLite or on a Postgres database."""

from __future__ import annotations

import sys

from everlearn.local.local_server import LocalServer, is_healthy
from everlearn.local.ports import HOST
from everlearn.local.postgres_url import PostgresUrl


class LocalPrefect(LocalServer):
    """Prefect's server. SQLite suffices for one night at a time."""

    name = "Prefect"
    roles = ("api",)

    @property
    def database(self) -> PostgresUrl | None:
        """The Postgres database that the next start uses; None for SQLite."""
        return PostgresUrl.load(self.directory / "database")

    def set_database(self, database: PostgresUrl | None) -> None:
        """Choose the Postgres database, or SQLite (None), for the next start."""
        if database is None:
            (self.directory / "database").unlink(missing_ok=True)
        else:
            database.save(self.directory / "database")

    @property
    def url(self) -> str:
        """URL of the dashboard."""
        return f"http://{HOST}:{self.config.ports['api']}"

    @property
    def api_url(self) -> str:
        """URL of the API: the value for PREFECT_API_URL."""
        return f"{self.url}/api"

    def command(self) -> list[str]:
        """Return `prefect server start`, run by this Python interpreter in a process of ours (prefect_process.py)."""
        port = str(self.config.ports["api"])
        program = [sys.executable, "-m", "everlearn.local.prefect_process"]
        return [*program, "server", "start", "--host", HOST, "--port", port]

    def environ(self) -> dict[str, str]:
        """Return variables for its home, its database, no analytics, and daily removal of what deleted runs leave."""
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        own = {"PREFECT_HOME": str(self.directory / "home"), "PREFECT_API_URL": self.api_url}
        database = {"PREFECT_API_DATABASE_CONNECTION_URL": self.database.for_prefect} if self.database else {}
        return quiet | own | database | {"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans"}

    def is_ready(self) -> bool:
        """Return whether the API's health check succeeds."""
        return is_healthy(f"{self.api_url}/health")
