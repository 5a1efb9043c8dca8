"""`deploy` and `schedule`: nights that begin by themselves, on a Prefect server and its workers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.output import Json, answer, table, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.cli.context import Place

app = typer.Typer()
schedule = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
Line = Annotated[str | None, typer.Option(metavar="LINE", help="By default the line of the settings.")]


@schedule.callback()
def times() -> None:
    """See and set when the nights of a line begin, hold them, or let one begin now.

    The schedule lives on the Prefect server; `everlearn deploy` makes it, and leaves alone what is set here. A night that
    was missed is made up for once, however many were missed.

        everlearn schedule show
        everlearn schedule set "30 2 * * *" --timezone Europe/Berlin
    """


@app.command()
def deploy(
    context: typer.Context,
    *,
    line: Annotated[list[str] | None, typer.Option(metavar="LINE", help="Repeat it for several.")] = None,
    file: Annotated[Path, typer.Option(metavar="FILE", help="Deployments as code.")] = Path("infra/prefect.yaml"),
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where to tell people: a Slack or other webhook, or sendgrid://KEY:from/to."),
    ] = None,
    no_notify: Annotated[
        bool, typer.Option("--no-notify", help="Tell nobody any more; with --notify, nobody but those named here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even at a terminal.")] = False,
    json: Json = False,
) -> None:
    """Make the Prefect server have the deployments of a line: show what would change, then apply it.

    Repeating it changes nothing. Times that were set by `everlearn schedule` stay. Workers are yours to start, on
    each machine that shall run nights: `everlearn worker`.

        everlearn deploy
        everlearn deploy --line math --line code --yes
        everlearn deploy --dry-run --json
        everlearn deploy --notify https://hooks.slack.com/services/…    # kept on the server as a secret, until
        everlearn deploy --no-notify                                    # nobody is to be told any more
    """
    place: Place = context.obj
    settings = place.settings()
    lines = line or [settings.store.line]
    with client_of(place) as client:
        from everlearn.orchestration.deployments import apply, compare, read_plan
        from everlearn.orchestration.notifications import parse_target, plan_targets, read_target_ids

        chosen = plan_targets(client, [parse_target(url) for url in notify or ()], only=no_notify)
        plans = [read_plan(file, line=each, directory=settings.root, targets=chosen.ids) for each in lines]
        changes = {plan.line: (*chosen.changes, *compare(plan, client)) for plan in plans}
        facts = {name: [str(change) for change in found] for name, found in changes.items()}
        told = "\n".join(dict.fromkeys(each for found in facts.values() for each in found)) or "nothing to change"
        answer(facts, as_json=json, shown=told)
        if dry_run or not any(changes.values()):
            return
        if not yes and asks():
            typer.confirm("apply this?", err=True, abort=True)
        for said in chosen.apply(client):
            tell(said)
        for each in lines:
            apply(read_plan(file, line=each, directory=settings.root, targets=read_target_ids(client)), client)
            tell(f"line {each}: deployed")


@schedule.command()
def show(context: typer.Context, *, line: Line = None, json: Json = False) -> None:
    """Show when nights begin, and the next of them.

    everlearn schedule show
    """
    with night_of(context, line) as (_, night):
        rows = [
            ("line", night.line),
            ("begins", f"{night.cron} {night.timezone}" if night.cron else "never"),
            ("paused", "yes: no night begins by itself" if night.paused else "no"),
            *(("next", f"{each:%Y-%m-%d %H:%M} UTC") for each in night.next_runs),
            *((f"workers of pool {pool}", there or "none") for pool, there in night.workers.items()),
        ]
        answer(night.facts(), as_json=json, shown=table("", "", rows=rows))
        warn(night)


@schedule.command(name="set")
def set_(
    context: typer.Context,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Minute, hour, day, month, weekday.")],
    *,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Such as Europe/Berlin.")] = "UTC",
    line: Line = None,
) -> None:
    """Let nights begin at other times.

    everlearn schedule set "30 2 * * *" --timezone Europe/Berlin
    """
    with night_of(context, line) as (client, night):
        from everlearn.orchestration.schedules import set_schedule

        set_schedule(client, night, cron=cron, timezone=timezone)
        tell(f"line {night.line}: nights begin at {cron} {timezone}")


@schedule.command()
def pause(context: typer.Context, *, line: Line = None) -> None:
    """Let no night begin by itself until `everlearn schedule resume`; one that runs goes on.

    everlearn schedule pause --line math
    """
    held(context, line, held=True)


@schedule.command()
def resume(context: typer.Context, *, line: Line = None) -> None:
    """Let nights begin by themselves again.

    everlearn schedule resume --line math
    """
    held(context, line, held=False)


@schedule.command(name="run-now")
def run_now(context: typer.Context, *, line: Line = None, json: Json = False) -> None:
    """Let a night begin now, on the next free worker.

    everlearn schedule run-now --line math
    """
    with night_of(context, line) as (client, night):
        from everlearn.orchestration.schedules import start_night

        run = start_night(client, night)
        waits = " and ".join(night.workers)
        answer(
            {"run": str(run)} | {"workers": night.workers},
            as_json=json,
            shown=f"run {run} waits for workers of {waits}",
        )
        warn(night)


def warn(night: Any) -> None:
    """Name the pools whose runs wait in vain, and how to let them begin."""
    for pool in night.pools_without_workers:
        tell(f"no worker of pool {pool} is online: nothing runs there until `everlearn worker --pool {pool}`")


def asks() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty()


def held(context: typer.Context, line: str | None, *, held: bool) -> None:
    """Pause or resume, and say so."""
    with night_of(context, line) as (client, night):
        from everlearn.orchestration.schedules import set_paused

        set_paused(client, night, paused=held)
        tell(f"line {night.line}: nights {'are paused' if held else 'begin by themselves'}")


@contextlib.contextmanager
def night_of(context: typer.Context, line: str | None) -> Iterator[tuple[Any, Any]]:
    """A client, and the nightly deployment of the line."""
    place: Place = context.obj
    with client_of(place) as client:
        from everlearn.orchestration.schedules import find_night

        yield client, find_night(client, line=line or place.settings().store.line)


@contextlib.contextmanager
def client_of(place: Place) -> Iterator[Any]:
    """A client of the Prefect server. ServiceError if there is none, or it does not answer."""
    place.connect()
    from everlearn.orchestration.api_client import connect  # Prefect reads its environment when it is imported

    with connect() as found:
        yield found
