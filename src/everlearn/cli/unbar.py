"""`unbar`: let a version that was rolled back or refused serve again."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.history import Reason, print_decision
from everlearn.cli.output import Json, Yes, confirm, is_interactive
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer()


@app.command()
def unbar(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v0001")],
    *,
    reason: Reason,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let a barred version be champion and parent again. The champion does not change.

    A rollback bars the version that it leaves, and `approve --refuse` the one that it refuses. Unbarring also lifts the
    flag of the night's data. A refused version then waits for approval again. Unbarring a version that is not barred
    changes nothing.

        everlearn unbar v0001 --reason "the data source was at fault, not the version"
        everlearn promote v0001 --reason "it serves again"
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    before = registry.state()
    if is_interactive(yes=yes):
        confirm(f"Unbar {version}, so that it can be champion and parent again?")
    entry = registry.unbar(version, reason=reason, actor=getpass.getuser())
    command = "approve" if entry.version in registry.cached_state.waiting else "promote"
    print_decision(
        registry,
        EventKind.UNBARRED,
        version=entry.version,
        since=before,
        otherwise=f"{entry.version} is not barred: nothing was changed",
        more=[f'to let it serve: everlearn {command} {entry.version} --reason "…"'],
        as_json=json,
    )
