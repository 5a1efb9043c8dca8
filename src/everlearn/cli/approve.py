"""`approve`: somebody's word for a version that passed the gate."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli import formatting
from everlearn.cli.history import Yes, asks, change, confirm, said, settle
from everlearn.cli.output import Json, tell
from everlearn.cli.schedule import client_of
from everlearn.errors import RegistryError, ServiceError
from everlearn.orchestration.events_client import CHANGED, emit

if TYPE_CHECKING:
    from everlearn.cli.context import Place

app = typer.Typer()


@app.command()
def approve(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="By default the newest that waits.")] = None,
    *,
    reason: Annotated[str, typer.Option(callback=said, help="Why, for the history.")],
    refuse: Annotated[bool, typer.Option("--refuse", help="Bar it instead: it will never serve.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let a version that passed the gate and waits for approval serve, or refuse it.

    Versions wait where the line says so (gate.require_approval); until then the champion stays. The same as the form in
    the dashboard, and as good without one.

        everlearn approve v0008 --reason "I have read its report"
        everlearn approve v0008 --refuse --reason "its answers are too long"
    """
    place: Place = context.obj
    registry = place.registry()
    state = registry.state()
    chosen = version or next(reversed(state.waiting), None)
    if chosen is None:
        raise RegistryError(f"no version of line {registry.line} waits for approval")
    if asks(yes=yes):
        confirm(f"{'Refuse' if refuse else 'Approve'} {chosen}?")
    (registry.refuse if refuse else registry.approve)(chosen, reason=reason, actor=getpass.getuser())
    event = registry.cached_state.history[-1]
    emit(CHANGED, line=registry.line, payload=change(event, champion=registry.cached_state.champion))
    settle(registry, formatting.of_event(event) | {"version": chosen}, told=[event.sentence], wait=None, as_json=json)
    close_forms(place, line=registry.line, version=chosen)


def close_forms(place: Place, *, line: str, version: str) -> None:
    """Take the form away from the dashboard, where there is one: nobody needs to answer it any more."""
    if "PREFECT_API_URL" not in os.environ:
        return
    try:
        with client_of(place):
            from everlearn.orchestration.approval_forms import close_forms as close

            close(line=line, version=version)
    except ServiceError as error:
        tell(f"{error}; a form that may still wait there can be cancelled")
