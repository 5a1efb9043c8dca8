"""`gate plan`: what the suites of a line can decide, before a night is paid for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Group
from rich.text import Text

from everlearn.cli.output import Json, Profile, print_result, table

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
OWN = (6, 20, 30, 50, 100, 200, 500)
"""Numbers of own held-out problems that are shown."""


@app.callback()
def gate() -> None:
    """What the gate can decide.

    everlearn gate plan
    """


@app.command()
def plan(context: typer.Context, *, profile: Profile = None, json: Json = False) -> None:
    """Show which losses the suites can exclude, how many items the wanted margins need, and which gains a night can show.

    A margin is decided if an unchanged model stays within it, against parent, base and best version, with probability
    `gate.power`. With `gate.improvement_error: line` the gains are those at the level of the line's next night. Nothing is changed.

        everlearn gate plan
        everlearn gate plan --json | jq .guards
    """
    from dataclasses import replace

    from everlearn.data import suites
    from everlearn.gate.lifetime_error import labels_of, level_of_line
    from everlearn.gate.plan import plan_guards, visible_gains

    named: Installation = context.obj
    installation = replace(named, profile=profile or named.profile)
    settings = installation.settings()
    shipped = suites.load_directory(settings.suites_directory, domain=settings.domain)
    guards = plan_guards(shipped, settings=settings.gate)
    by_line = settings.gate.improvement_error == "line"
    history = installation.registry().state().history if by_line else ()  # the only thing that needs the registry
    level = level_of_line(history, settings=settings.gate) or settings.gate.alpha
    labels = labels_of(history)
    gains = visible_gains(OWN, settings=settings.gate, level=level)
    facts: dict[str, Any] = {
        "guards": [asdict(guard) | {"is_decided": guard.is_decided} for guard in guards],
        "level": level,
        "tests": len(labels) if by_line else None,
        "labels": sum(labels) if by_line else None,
        "gains": {str(size): gain for size, gain in gains.items()},
    }
    said = f"an improvement has to be shown at the level {level:.2g}"
    if by_line:
        said += f": the next test of the line is number {len(labels) + 1}, and {sum(labels)} so far gave a version"
    rows: list[tuple[object, ...]] = [
        (
            guard.suites,
            f"{guard.items:.0f}",
            _points(guard.wanted),
            Text(_points(guard.decided), style="green" if guard.is_decided else "yellow"),
            guard.items_needed,
        )
        for guard in guards
    ]
    names = ("must not get worse", "independent items", "margin wanted", "decided", "items for the wanted one")
    if not guards:
        rows = [("no skill or general suite: nothing shows that the model keeps what it can", None, None, None, None)]
    shown = [(size, "never" if gain is None else f"{_points(gain)} points") for size, gain in gains.items()]
    text = Group(
        table(*names, rows=rows), Text(""), Text(said), table("own held-out problems", "show a gain of", rows=shown)
    )
    print_result(facts, as_json=json, text=text)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
