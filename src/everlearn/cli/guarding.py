"""`suites`: what every night measures so that no version gets worse on it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli import formatting
from everlearn.cli.output import Json, print_result, table
from everlearn.errors import BadInputError
from everlearn.registry.guarded_suites import changed_by

if TYPE_CHECKING:
    from everlearn.cli.context import Installation
    from everlearn.registry.line_state import State
    from everlearn.registry.versions import Event, Registry

app = typer.Typer()


@app.command()
def suites(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Print the items of this suite, one JSON object a line.")] = None,
    *,
    json: Json = False,
) -> None:
    """Show the suites that guard the line, and since when each has its present items.

    Every night measures them, so that no version gets worse on what the line can do. `history` shows when a suite was
    added, thinned or retired. The suites of a night's own problems are new every night, and not among them.

        everlearn suites
        everlearn suites memory-v0003 > memory.jsonl
    """
    installation: Installation = context.obj
    registry = installation.known_registry()
    state = registry.state()
    if name is not None:
        sys.stdout.write(_items_of(name, state, registry))
        return
    since = {suite: _last_change(suite, state) for suite in state.suites}
    facts = [
        {"name": suite, **asdict(state.suites[suite]), "event": event.sequence, "at": event.at.isoformat()}
        for suite, event in since.items()
    ]
    rows = [
        (suite, state.suites[suite].kind, state.suites[suite].items, event.sequence, formatting.format_time(event.at))
        for suite, event in since.items()
    ]
    text = (
        table("suite", "kind", "items", "since event", "(UTC)", rows=rows) if rows else "no suite guards the line yet"
    )
    print_result(facts, as_json=json, text=text)


def _items_of(name: str, state: State, registry: Registry) -> str:
    if name not in state.suites:
        known = ", ".join(state.suites) or "none yet"
        raise BadInputError(f"no suite {name!r} guards line {registry.line}; these do: {known}")
    return registry.get_object(state.suites[name].ref).decode()


def _last_change(suite: str, state: State) -> Event:
    """Return the event that gave a suite its present items."""
    return next(event for event in reversed(state.history) if suite in changed_by(event))
