"""A project is a directory with params.yaml. A command that needs one checks that before it does or starts anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from everlearn.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import typer

STORE_VARIABLES = ("EVERLEARN_STORE__BUCKET", "EVERLEARN_STORE__ENDPOINT_URL")

WITHOUT_PROJECT = frozenset(
    {"init", "verify", "keys new", "domain list", "domain new", "domain check", "domain generate"}
)
"""Commands that work anywhere: they make a project or a domain, judge answers, or create a key."""

STORE_IS_ENOUGH = frozenset(
    [
        *("status", "history", "show", "report", "pull", "watch", "replicas", "metrics", "fsck", "keys show"),
        *("rollback", "promote", "approve", "unbar", "gate audit"),
    ]
)
"""Commands that work on the bucket alone: on a machine without a project, variables may name the store."""


class ProjectCommand(TyperCommand):
    """A command that checks for a project when it runs, after its options are read, so that --help works anywhere."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. SettingsError if it needs a project and there is none."""
        require_project(name_of(ctx), params=ctx.obj.params, environ=os.environ)
        return super().invoke(ctx)


def check_projects(app: typer.Typer) -> None:
    """Let every command of an app and of its groups check for a project."""
    for command in app.registered_commands:
        command.cls = ProjectCommand
    for group in [group.typer_instance for group in app.registered_groups if group.typer_instance is not None]:
        check_projects(group)


def name_of(context: Any) -> str:
    """Return the name of a command as the user writes it: `status`, `keys new`."""
    names = []
    inner = context
    while inner.parent is not None:
        names.append(str(inner.info_name))
        inner = inner.parent
    return " ".join(reversed(names))


def require_project(command: str, *, params: Path, environ: Mapping[str, str]) -> None:
    """Check that the settings file exists, unless the command works without one.

    Raises:
        SettingsError: the command needs a project. The message names the remedies.
    """
    store_named = command in STORE_IS_ENOUGH and any(environ.get(name) for name in STORE_VARIABLES)
    if params.is_file() or command in WITHOUT_PROJECT or store_named:
        return
    remedies = [
        "change to the directory of a project",
        "name its settings file with `everlearn --params FILE …`",
        "make a project with `everlearn init DIR`",
    ]
    if command in STORE_IS_ENOUGH:
        remedies.append(f"name the bucket with {STORE_VARIABLES[0]}")
    where = params.absolute().parent
    raise SettingsError(f"no {params.name} here, in {where}: {', '.join(remedies[:-1])}, or {remedies[-1]}")
