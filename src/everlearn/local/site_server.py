"""The site as one of the local servers: started by `everlearn up`, found again by later commands.

    site = LocalSite(Path(".everlearn/site"), params=Path("params.yaml"))
    site.start()
    site.url

It finds the line as every command does, from the settings and the servers that run, so it may start before them.
Importing this costs nothing: what makes the pages is imported by the server itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.local.servers import HOST, LocalServer, answers, program

if TYPE_CHECKING:
    from pathlib import Path


class LocalSite(LocalServer):
    """`everlearn site --port` in the background. `home` is the state directory, `params` the file of settings."""

    name = "Site"
    roles = ("http",)

    def __init__(self, home: Path, *, params: Path) -> None:
        super().__init__(home / "site")
        self._home = home.absolute()
        self._params = params.absolute()

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{HOST}:{self.plan.ports['http']}"

    def command(self) -> list[str]:
        """The command line, serving."""
        place = ["--home", str(self._home), "--params", str(self._params)]
        return [program("everlearn"), *place, "site", "--port", str(self.plan.ports["http"])]

    def environ(self) -> dict[str, str]:
        """Nothing beside what the command that starts it has."""
        return {}

    def ready(self) -> bool:
        """Whether it answers; the store need not."""
        return answers(f"{self.url}/health")
