"""The site of the line as a local server: started by `everlearn up`, found by later commands.

    site = LocalSite(Path(".everlearn"), params=Path("params.yaml"))
    site.start()
    site.url

The server reads the settings and finds the store as every command does, so it may start before the other servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.local.local_server import LocalServer, find_program, is_healthy
from everlearn.local.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path


class LocalSite(LocalServer):
    """`everlearn site --port` in the background. `home` is the state directory, `params` the settings file."""

    name = "Site"
    roles = ("http",)

    def __init__(self, home: Path, *, params: Path) -> None:
        super().__init__(home / "site")
        self._home = home.absolute()
        self._params = params.absolute()

    @property
    def url(self) -> str:
        """URL of the site."""
        return f"http://{HOST}:{self.config.ports['http']}"

    def command(self) -> list[str]:
        """Return the command line of `everlearn site --port`."""
        options = ["--home", str(self._home), "--params", str(self._params)]
        return [find_program("everlearn"), *options, "site", "--port", str(self.config.ports["http"])]

    def environ(self) -> dict[str, str]:
        """Return no additional variables."""
        return {}

    def is_ready(self) -> bool:
        """Return whether the site answers; it does so even when the store does not."""
        return is_healthy(f"{self.url}/health")
