"""Where a command works: the settings, the state directory, and the servers that it finds there.

This is the composition root: the one place that chooses the store behind the registry. It imports nothing heavy, so
that `status`, `history` and `rollback` answer at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn import settings as configuration
from everlearn.errors import ServiceError
from everlearn.local import laptop
from everlearn.local.postgres_url import VARIABLE, PostgresUrl
from everlearn.local.site_server import LocalSite
from everlearn.registry import signing
from everlearn.registry.connect import open_registry

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.settings import Profile, Settings

MOVED = (
    "Prefect starts on another database. Deployments, schedules, runs and their logs stay behind on {}: run "
    "`everlearn deploy` for every line, and set times of your own again with `everlearn schedule set`. Versions and "
    "history are in the bucket, and stay as they are."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The state directory (`.everlearn`) and the file of settings (`params.yaml`)."""

    home: Path
    params: Path

    @property
    def inbox(self) -> Path:
        """Where problems wait for the next night of the line."""
        return self.settings().inbox_directory

    def settings(self, *, profile: Profile | None = None) -> Settings:
        """The settings, with the address of the local S3 server where no other is set."""
        return configuration.load(self.params, profile=profile)

    def connect(self) -> None:
        """Let this process, and the ones it starts, find the local servers; an S3 server of one's own is left alone."""
        found = laptop.environment(self.home)
        if configuration.load(self.params).store.endpoint_url is not None:
            found = {name: value for name, value in found.items() if name.startswith("PREFECT_")}
        os.environ.update({name: value for name, value in found.items() if not is_chosen(name)})

    def start(self) -> None:
        """Start the local servers that do not run, unless the settings name an S3 server; then let them be found."""
        chosen = self.settings().store
        if chosen.endpoint_url is None:
            self.choose_database(os.environ.get(VARIABLE))
            laptop.up(self.home, bucket=chosen.bucket)
            self.own_key()
        self.connect()

    def choose_database(self, url: str | None, *, sqlite: bool = False) -> str | None:
        """Let Prefect start on that Postgres, the one of before, or SQLite; a sentence if the server will be another.

        Nothing is changed where Prefect runs already, or where its Postgres would not do: ServiceError.
        """
        _, prefect = laptop.servers(self.home)
        before = prefect.database
        chosen = None if sqlite else PostgresUrl.parse(url) if url else before
        if prefect.is_running():
            if chosen != before:
                where = before.redacted if before else "SQLite"
                raise ServiceError(f"Prefect runs on {where} here; run `everlearn down`, then the same command again")
            return None
        if chosen is not None:
            from everlearn.orchestration.postgres_check import check_database

            check_database(chosen)
        if chosen == before:
            return None
        prefect.set_database(chosen)
        return MOVED.format(before.redacted if before else "SQLite") if prefect.was_started() else None

    def registry(self) -> Registry:
        """The line of the settings. StoreDownError when there is no server to talk to."""
        self.connect()
        return open_registry(self.settings())

    def site(self) -> LocalSite:
        """The pages of the line, served locally, whether they are or not."""
        return LocalSite(self.home, params=self.params)

    def own_key(self) -> None:
        """Draw a key to sign with, unless there is one or the settings do without: for a line on the local server."""
        settings = self.settings()
        if not (settings.signing.unsigned or settings.signing.trusted or settings.key_file.exists()):
            signing.create_key(settings.key_file)


def is_chosen(name: str) -> bool:
    """Whether the user has set this variable of Prefect himself, so that it is not ours to change."""
    return name.startswith("PREFECT_") and name in os.environ
