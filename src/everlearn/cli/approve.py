"""`approve`: approve or refuse a version that passed the gate."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.history import Reason, print_decision
from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_note
from everlearn.cli.schedule import prefect_client
from everlearn.errors import RegistryError, ServiceError
from everlearn.registry.events import EventKind

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer()


@app.command()
def approve(
    context: typer.Context,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="By default the newest version that waits for approval.")
    ] = None,
    *,
    reason: Reason,
    refuse: Annotated[bool, typer.Option("--refuse", help="Bar the version instead: it will never serve.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Approve a version that passed the gate and waits for approval, or refuse it.

    Versions wait if `gate.require_approval` is set; until then the champion does not change. The approval form in the
    dashboard has the same effect.

        everlearn approve v0008 --reason "I have read its report"
        everlearn approve v0008 --refuse --reason "its answers are too long"
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    state = registry.state()
    chosen = version or next(reversed(state.waiting), None)
    if chosen is None:
        raise RegistryError(f"no version of line {registry.line} waits for approval")
    if is_interactive(yes=yes):
        confirm(f"{'Refuse' if refuse else 'Approve'} {chosen}?")
    entry = (registry.refuse if refuse else registry.approve)(chosen, reason=reason, actor=getpass.getuser())
    print_decision(
        registry,
        EventKind.BARRED if refuse else EventKind.PROMOTED,
        version=entry.version,
        since=state,
        otherwise=f"{entry.version} is {'barred' if refuse else 'approved'} already: nothing was changed",
        as_json=json,
    )
    close_forms(installation, line=registry.line, version=chosen)


def close_forms(installation: Installation, *, line: str, version: str) -> None:
    """Close the approval form in the Prefect dashboard, if a server is configured."""
    if "PREFECT_API_URL" not in os.environ:
        return
    try:
        with prefect_client(installation):
            from everlearn.orchestration.approval_forms import close_forms as close

            close(line=line, version=version)
    except ServiceError as error:
        print_note(f"{error}; a form that may still wait there can be cancelled")
