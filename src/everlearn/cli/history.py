"""`status`, `history`, `show`, `rollback`, `promote`, `report`: what was published, and which of it serves.

None of these needs torch, Great Expectations or Prefect: a rollback must work on a machine where nothing else does.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from everlearn.cli import formatting, waiting
from everlearn.cli.output import Json, answer, table, tell
from everlearn.errors import BadInputError, NotFoundError
from everlearn.orchestration.events_client import CHANGED, emit
from everlearn.registry.events import EventKind
from everlearn.serving.rollout_status import read_rollout_status

if TYPE_CHECKING:
    from everlearn.cli.context import Place
    from everlearn.registry.events import Event
    from everlearn.registry.versions import Registry

app = typer.Typer()


def said(reason: str) -> str:
    """A reason that says something."""
    if not reason.strip():
        raise typer.BadParameter("it is empty: say why in a few words, the history keeps them")
    return reason


Ref = Annotated[str, typer.Argument(metavar="VERSION", help="v0001, or champion.")]
Verification = Annotated[
    Literal["quick", "full"],
    typer.Option(help="Of the target's bytes: ask the store for its checksums, or read and hash them all."),
]
Wait = Annotated[
    float | None,
    typer.Option(metavar="60s", parser=waiting.duration, help="Wait until all consumers have followed; 12 if not."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, even at a terminal.")]


@app.command()
def status(context: typer.Context, *, json: Json = False) -> None:
    """Show the champion, the versions and the last event of the line.

    The champion is what consumers should load now. A barred version was taken back.

    everlearn status
    everlearn status --json | jq .champion
    """
    place: Place = context.obj
    state = place.registry().state()
    site = place.site()
    seen = site.url if site.is_running() else None
    facts = formatting.of_state(state, line=place.settings().store.line) | {"site": seen}
    rows = [
        ("line", facts["line"]),
        ("champion", facts["champion"] or "none yet: the base model serves"),
        ("versions", ", ".join(facts["versions"]) or None),
        ("barred", ", ".join(facts["barred"]) or None),
        ("last event", state.history[-1].sentence if state.history else None),
        ("site", seen),
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
    rows = [(event.sequence, formatting.moment(event.at), event.sentence, event.actor) for event in events]
    shown = table("#", "when (UTC)", "what and why", "who", rows=rows) if events else "nothing has happened yet"
    answer([formatting.of_event(event) for event in events], as_json=json, shown=shown)


@app.command()
def show(
    context: typer.Context,
    version: Ref,
    *,
    provenance: Annotated[bool, typer.Option("--provenance", help="Its SLSA v1 provenance instead.")] = False,
    bom: Annotated[bool, typer.Option("--bom", help="Its CycloneDX bill of materials instead.")] = False,
    json: Json = False,
) -> None:
    """Show one version: where it came from, what it holds, and why the gate let it pass.

    Everything comes from its manifest, whose digest and signature are checked first; provenance and bill of materials
    are JSON documents that the manifest names by their digests.

        everlearn show v0001
        everlearn show champion --json | jq .decision
        everlearn show champion --bom > bom.json
    """
    if provenance and bom:
        raise BadInputError("--provenance and --bom are two documents; ask for one at a time")
    place: Place = context.obj
    registry = place.registry()
    entry = registry.resolve(version)
    manifest = registry.manifest(entry.version)
    if provenance or bom:
        told = formatting.document(registry, entry.version, manifest, wanted="provenance" if provenance else "bom")
        answer(told, as_json=json, shown=formatting.pretty(told))
        return
    answer(formatting.of_version(entry, manifest), as_json=json, shown=formatting.portrait(entry, manifest))


@app.command()
def rollback(
    context: typer.Context,
    *,
    reason: Annotated[
        str, typer.Option(callback=said, help="Why, for the history and for whoever reviews that night's data.")
    ],
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Or base; by default the last good champion.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not bar the version that is left.")] = False,
    verify: Verification = "quick",
    wait: Wait = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take the champion back: the version before it serves again.

    First the target is checked: signature, base model, not barred, and each object's presence, size and checksum as the
    store holds them. The version that is left is barred: it will be neither champion nor parent, and its night's data
    is flagged. Nothing is deleted. `--to base` goes back to the base model alone. Neither Prefect nor the model is
    needed.

        everlearn rollback --reason "wrong signs since this morning"
        everlearn rollback --to v0001 --reason "back to the start" --yes --wait 60s
    """
    place: Place = context.obj
    registry = place.registry()
    if asks(yes=yes):
        state = registry.state()
        target = to or state.last_good or "the base model"
        end = "" if keep else f" {state.champion} will be barred."
        confirm(f"Take back {state.champion or 'nothing'}, so that {target} serves?{end if state.champion else ''}")
    done = registry.rollback(to, reason=reason, actor=getpass.getuser(), keep=keep, verify=verify)
    told = [done.event.sentence]
    emit(CHANGED, line=registry.line, payload=change(done.event, champion=done.to))
    if done.barred:
        told.append(f"{done.left} is barred: it will be neither champion nor parent")
    flagged = registry.cached_state.versions[done.left].data_digest
    told.append(f"the data of its night, {flagged[:16]}, is flagged for review")
    settle(registry, formatting.of_event(done.event) | {"flagged": flagged}, told=told, wait=wait, as_json=json)


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v0001")],
    *,
    reason: Annotated[str, typer.Option(callback=said, help="Why, for the history.")],
    verify: Verification = "quick",
    wait: Wait = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make a published version the champion: a rollback the other way, after the same checks.

    A version that was barred by a rollback is refused. Promoting the champion changes nothing.

        everlearn promote v0008 --reason "it was the data source, not the version"
    """
    place: Place = context.obj
    registry = place.registry()
    before = registry.state()
    if asks(yes=yes):
        confirm(f"Make {version} the champion instead of {before.champion or 'the base model'}?")
    entry = registry.promote(version, reason=reason, actor=getpass.getuser(), verify=verify)
    since = registry.cached_state.history[before.sequence :]
    done = [event for event in since if event.kind is EventKind.PROMOTED and event.detail["version"] == entry.version]
    facts: dict[str, Any] = formatting.of_event(done[-1]) if done else {}
    if done:
        emit(CHANGED, line=registry.line, payload=change(done[-1], champion=entry.version))
    told = done[-1].sentence if done else f"{entry.version} is the champion already: nothing was changed"
    settle(registry, facts | {"version": entry.version, "changed": bool(done)}, told=[told], wait=wait, as_json=json)


def change(event: Event, *, champion: str | None) -> dict[str, Any]:
    """What people are told of it."""
    return {"what": event.sentence, "actor": event.actor, "champion": champion}


def asks(*, yes: bool) -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and not yes


def confirm(question: str) -> None:
    """Go on only after a yes."""
    typer.confirm(question, abort=True, err=True)


def settle(registry: Registry, facts: dict[str, Any], *, told: list[str], wait: float | None, as_json: bool) -> None:
    """Say what was done and what consumers will see, and wait for them if asked."""
    seen = read_rollout_status(registry)
    answer(facts | seen.facts(), as_json=as_json, shown="\n  ".join([*told, *seen.sentences()]))
    if wait is not None:
        waiting.wait(registry, patience_s=wait)


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
    site = place.site()
    if site.is_running():
        tell(f"the whole line: {site.url}")
