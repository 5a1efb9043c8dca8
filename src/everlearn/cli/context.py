"""The installation that a command works on: settings, state directory and local servers.

This is the composition root: it chooses the store behind the registry. It imports nothing heavy, so that `status`,
`history` and `rollback` start fast.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everlearn import settings as configuration
from everlearn.cli.output import print_note
from everlearn.errors import ServiceError
from everlearn.local import laptop
from everlearn.local.postgres_url import VARIABLE, PostgresUrl
from everlearn.local.site_server import LocalSite
from everlearn.registry import signing
from everlearn.registry.known_lines import require_known_line

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry
    from everlearn.settings import Settings

HOME = Path(".everlearn")
DATABASE_CHANGED = (
    "Prefect starts on another database. Deployments, schedules, runs and their logs remain on {}: run "
    "`everlearn deploy` for every line, and set your own times again with `everlearn schedule set`. Versions and "
    "history are in the bucket and do not change."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The state directory (`.everlearn`), the settings file (`params.yaml`), and the profile that the command names."""

    home: Path
    params: Path
    profile: str | None = None

    @classmethod
    def beside(cls, params: Path, *, home: Path | None, profile: str | None = None) -> Installation:
        """Return the installation of a settings file. By default its state directory is in the same folder."""
        home = home or (params.parent / HOME if params.is_file() else HOME)
        return cls(home=home, params=params, profile=profile)

    @property
    def inbox(self) -> Path:
        """The folder of problems for the next night: that of the settings, else `inbox` in the state directory."""
        settings = self.settings()
        if "inbox" in settings.data.model_fields_set:
            return settings.inbox_directory
        return self.home.absolute() / "inbox" / settings.store.line

    @property
    def command(self) -> str:
        """The beginning of a command on this line, as a hint shows it: with the profile where that names another line."""
        if self.profile and self.settings().store != configuration.load(self.params).store:
            return f"everlearn --profile {self.profile}"
        return "everlearn"

    def settings(self) -> Settings:
        """Return the settings. After `connect`, they name the local S3 server unless they name another one."""
        return configuration.load(self.params, profile=self.profile)

    def connect(self) -> None:
        """Set the environment of this process and its children to the local servers.

        An S3 server that the settings name is used instead, and variables of Prefect that the user set are kept.
        """
        variables = laptop.environment(self.home)
        if self.settings().store.endpoint_url is not None:
            variables = {name: value for name, value in variables.items() if name.startswith("PREFECT_")}
        os.environ.update({name: value for name, value in variables.items() if not is_set_by_user(name)})

    def start(self) -> None:
        """Start the local servers unless the settings name an S3 server, and connect to them."""
        store = self.settings().store
        if store.endpoint_url is None:
            moved = self.choose_database(os.environ.get(VARIABLE))
            if moved is not None:
                print_note(moved)
            laptop.up(self.home, bucket=store.bucket)
            self.create_key()
        self.connect()

    def choose_database(self, url: str | None, *, sqlite: bool = False) -> str | None:
        """Choose the database of the local Prefect server: the Postgres at `url`, SQLite, or that of the last start.

        Return a message if an existing server moves to another database.

        Raises:
            ServiceError: Prefect is running on another database, or the Postgres cannot be used. Nothing is changed.
        """
        _, prefect = laptop.servers(self.home)
        before = prefect.database
        chosen = None if sqlite else PostgresUrl.parse(url) if url else before
        if prefect.is_running():
            if chosen != before:
                current = before.redacted if before else "SQLite"
                raise ServiceError(f"Prefect runs on {current} here; run `everlearn down`, then the same command again")
            return None
        if chosen is not None:
            from everlearn.orchestration.postgres_check import check_database

            check_database(chosen)
        if chosen == before:
            return None
        prefect.set_database(chosen)
        return DATABASE_CHANGED.format(before.redacted if before else "SQLite") if prefect.was_started() else None

    def registry(self) -> Registry:
        """Connect and return the registry of the line. StoreDownError if no S3 server is known."""
        from everlearn.registry.connect import open_registry  # imports boto3, which not every command needs

        self.connect()
        return open_registry(self.settings())

    def known_registry(self) -> Registry:
        """Return the registry of the line for commands that show it.

        Raises:
            BadInputError: the bucket holds other lines, but nothing of this one: its name is probably mistyped.
        """
        registry = self.registry()
        if registry.state().sequence == 0:
            require_known_line(registry.store, registry.line)
        return registry

    def site(self) -> LocalSite:
        """Return the local web server of the line's pages, running or not."""
        return LocalSite(self.home, params=self.params)

    @property
    def dashboard(self) -> str | None:
        """Address of Prefect's dashboard: of the server that PREFECT_API_URL or `connect` names; None without one."""
        api = os.environ.get("PREFECT_API_URL", "")
        return os.environ.get("PREFECT_UI_URL") or api.removesuffix("/").removesuffix("/api") or None

    @property
    def has_key(self) -> bool:
        """Whether there is a signing key, or the settings need none."""
        settings, chosen = self.settings(), self.settings().signing
        return bool(chosen.unsigned or chosen.trusted or settings.key_file.exists() or os.environ.get(signing.VARIABLE))

    def create_key(self) -> None:
        """Create a signing key for a line on the local server, unless there is one or the settings need none."""
        if not self.has_key:
            signing.create_key(self.settings().key_file)


def is_set_by_user(name: str) -> bool:
    """Whether the user has set this variable of Prefect, so that it must not be changed."""
    return name.startswith("PREFECT_") and name in os.environ
