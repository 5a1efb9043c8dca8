"""`status`, `history`, `show`, `pull`, `rollback`, `report`: what was published, and which of it serves.

None of these needs torch, Great Expectations or Prefect: a rollback must work on a machine where nothing else does.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli import lines
from everlearn.cli.screen import Json, answer, table, tell
from everlearn.errors import NotFoundError

if TYPE_CHECKING:
    from everlearn.cli.place import Place

app = typer.Typer()
Ref = Annotated[str, typer.Argument(metavar="VERSION", help="v0001, or champion.")]


@app.command()
def status(context: typer.Context, *, json: Json = False) -> None:
    """Show the champion, the versions and the last event of the line.

    The champion is what consumers should load now. A barred version was taken back.

    everlearn status
    everlearn status --json | jq .champion
    """
    place: Place = context.obj
    state = place.registry().state()
    facts = lines.of_state(state, line=place.settings().store.line)
    rows = [
        ("line", facts["line"]),
        ("champion", facts["champion"] or "none yet: the base model serves"),
        ("versions", ", ".join(facts["versions"]) or None),
        ("barred", ", ".join(facts["barred"]) or None),
        ("last event", lines.sentence(state.history[-1]) if state.history else None),
    ]
    answer(facts, as_json=json, shown=table("", "", rows=rows))


@app.command()
def history(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 20,
    json: Json = False,
) -> None:
    """Show what happened to the line, the newest first.

    Published, rejected, rolled back: what, when, by whom and why. Nothing is ever removed from it.

    everlearn history --limit 5
    """
    place: Place = context.obj
    events = list(reversed(place.registry().state().history))[:limit]
    rows = [(event.sequence, lines.moment(event.at), lines.sentence(event), event.actor) for event in events]
    shown = table("#", "when (UTC)", "what and why", "who", rows=rows) if events else "nothing has happened yet"
    answer([lines.of_event(event) for event in events], as_json=json, shown=shown)


@app.command()
def show(context: typer.Context, version: Ref, *, json: Json = False) -> None:
    """Show one version: where it came from, what it holds, and why the gate let it pass.

    Everything comes from its manifest, whose digest and signature are checked first.

    everlearn show v0001
    everlearn show champion --json | jq .decision
    """
    place: Place = context.obj
    registry = place.registry()
    entry = registry.resolve(version)
    manifest = registry.manifest(entry.version)
    answer(lines.of_version(entry, manifest), as_json=json, shown=lines.portrait(entry, manifest))


@app.command()
def pull(
    context: typer.Context,
    version: Ref,
    *,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Replaced as a whole, once everything is verified.")],
    json: Json = False,
) -> None:
    """Fetch a version's adapter, check every byte against its digest, and put it in place at once.

    `peft.PeftModel.from_pretrained(base, DIR)` loads it as it is.

        everlearn pull champion --to adapter
    """
    place: Place = context.obj
    registry = place.registry()
    name = registry.resolve(version).version
    where = registry.pull(name, to=to)
    files = sorted(path.name for path in where.iterdir())
    answer({"version": name, "to": str(where), "files": files}, as_json=json, shown=f"{name} is in {where}")


@app.command()
def rollback(
    context: typer.Context,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the history and for whoever reviews that night's data.")],
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="By default the last good champion.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even at a terminal.")] = False,
    json: Json = False,
) -> None:
    """Take the champion back: the version before it serves again.

    The version that is left is barred: it will be neither champion nor parent, and its night's data is flagged. Nothing
    is deleted. `--to base` goes back to the base model alone.

        everlearn rollback --reason "wrong signs since this morning"
        everlearn rollback --to v0001 --reason "back to the start" --yes
    """
    place: Place = context.obj
    registry = place.registry()
    if sys.stdin.isatty() and not yes:
        state = registry.state()
        typer.confirm(
            f"Take back {state.champion or 'nothing'}, so that {to or state.last_good or 'the base model'} serves?",
            abort=True,
            err=True,
        )
    done = registry.rollback(to, reason=reason, actor=getpass.getuser())
    facts = lines.of_event(done.event)
    answer(facts, as_json=json, shown=lines.sentence(done.event))


@app.command()
def report(
    context: typer.Context,
    version: Ref,
    *,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="By default below .everlearn/reports.")] = None,
    json: Json = False,
) -> None:
    """Fetch the report of the night that made a version.

    It is one HTML page that needs nothing but a browser.

    everlearn report v0001
    everlearn report champion --to night.html
    """
    place: Place = context.obj
    registry = place.registry()
    name = registry.resolve(version).version
    page = registry.manifest(name).report
    if page is None:
        raise NotFoundError(f"{name} was published without a report; `everlearn show {name}` tells what is known of it")
    where = to or place.home / "reports" / f"{name}.html"
    where.parent.mkdir(parents=True, exist_ok=True)
    partial = where.with_name(f".{where.name}.partial")
    partial.write_bytes(registry.get_object(page))
    partial.replace(where)
    answer({"version": name, "report": str(where)}, as_json=json, shown=str(where))
    tell("open it in a browser")
