"""`deploy` and `schedule`: scheduled nights on a Prefect server and its workers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli.new_project import LINE
from everlearn.cli.output import Json, Yes, confirm, is_interactive, print_note, print_result, table
from everlearn.errors import BadInputError
from everlearn.settings.layers import check_profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.cli.context import Installation

app = typer.Typer()
NIGHTLY_SETTINGS = "params.yaml"
"""The file in their directory that runs of a deployment read, without options."""
NOTIFY = "EVERLEARN_NOTIFY"
"""Variable for --notify: other users of the machine see arguments, but not the environment."""
schedule = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
Line = Annotated[str | None, typer.Option(metavar="LINE", help="Name of the line; by default that of the settings.")]


@schedule.callback()
def times() -> None:
    """Show and set when the nights of a line start, pause them, or start one now.

    The schedule is stored on the Prefect server. `everlearn deploy` creates it, and does not change what is set here.
    After missed nights, one night runs.

        everlearn schedule show
        everlearn schedule set "30 2 * * *" --timezone Europe/Berlin
    """


@app.command()
def deploy(
    context: typer.Context,
    *,
    line: Annotated[
        list[str] | None,
        typer.Option(metavar="LINE", help="Name of the line; repeat it for several. By default that of the settings."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Deployments as code; by default infra/prefect.yaml beside the settings file."
        ),
    ] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            envvar=NOTIFY,
            show_default=False,
            help="Target of notifications: a Slack or other webhook, or sendgrid://KEY:from/to.",
        ),
    ] = None,
    no_notify: Annotated[
        bool, typer.Option("--no-notify", help="Remove all notification targets, except those named by --notify.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Create or update the deployments of a line on the Prefect server: show the changes, then apply them.

    Repeating it changes nothing. Times that were set with `everlearn schedule` are kept. Start a worker on each machine
    that should run nights: `everlearn worker`.

        everlearn deploy
        everlearn deploy --line math --line code --yes
        everlearn deploy --dry-run --json
        everlearn deploy --notify https://hooks.slack.com/services/…    # stored on the server as a secret
        everlearn deploy --no-notify                                    # remove it
    """
    installation: Installation = context.obj
    settings = installation.settings()
    wrong = next((each for each in line or () if not LINE.fullmatch(each)), None)
    if wrong is not None:
        raise BadInputError(
            f"{wrong!r} cannot name a line: use lower-case letters, digits, dots, dashes or underscores"
        )
    if installation.params.name != NIGHTLY_SETTINGS:
        raise BadInputError(
            f"scheduled nights read {settings.root / NIGHTLY_SETTINGS}, not {installation.params}: name the settings file "
            f"{NIGHTLY_SETTINGS}, in a directory of its own where there are several"
        )
    check_profiles(installation.params)  # scheduled nights use one of their own
    lines, plan_file = line or [settings.store.line], file or settings.root / "infra" / "prefect.yaml"
    with prefect_client(installation) as client:
        from everlearn.orchestration.deployments import apply, compare, read_plan
        from everlearn.orchestration.notifications import parse_target, plan_targets, read_target_ids

        chosen = plan_targets(client, [parse_target(url) for url in notify or ()], only=no_notify)
        plans = [read_plan(plan_file, line=each, directory=settings.root, targets=chosen.ids) for each in lines]
        changes = {plan.line: (*chosen.changes, *compare(plan, client)) for plan in plans}
        facts = {name: [str(change) for change in of_line] for name, of_line in changes.items()}
        text = (
            "\n".join(dict.fromkeys(change for of_line in facts.values() for change in of_line)) or "nothing to change"
        )
        print_result(facts, as_json=json, text=text)
        if dry_run or not any(changes.values()):
            return
        if is_interactive(yes=yes):
            confirm("apply this?")
        for sentence in chosen.apply(client):
            print_note(sentence)
        for each in lines:
            plan = read_plan(plan_file, line=each, directory=settings.root, targets=read_target_ids(client))
            apply(plan, client)
            print_note(f"line {each}: deployed")
            print_note(
                f"  its nights use profile {plan.profile}; here, `everlearn cycle` uses profile {settings.profile}, "
                "unless --profile names another"
            )


@schedule.command()
def show(context: typer.Context, *, line: Line = None, json: Json = False) -> None:
    """Show when nights start, and the next ones.

    everlearn schedule show
    """
    with nightly_deployment(context, line) as (_, night):
        rows = [
            ("line", night.line),
            ("begins", f"{night.cron} {night.timezone}" if night.cron else "never"),
            ("profile", night.profile),
            ("paused", "yes: no night starts by itself" if night.paused else "no"),
            *(("next", f"{each:%Y-%m-%d %H:%M} UTC") for each in night.next_runs),
            *((f"workers of pool {pool}", there or "none") for pool, there in night.workers.items()),
        ]
        print_result(night.facts(), as_json=json, text=table("", "", rows=rows))
        warn_about_workers(night)


@schedule.command(name="set")
def set_(
    context: typer.Context,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Minute, hour, day of month, month, day of week.")],
    *,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Time zone, such as Europe/Berlin.")] = "UTC",
    line: Line = None,
) -> None:
    """Set when nights start, and show the next five times.

    A paused line remains paused. An expression that no date matches, or that has seconds, is refused.

    everlearn schedule set "30 2 * * *" --timezone Europe/Berlin
    """
    with nightly_deployment(context, line) as (client, night):
        from everlearn.orchestration.cron_times import midnight_warning, next_times
        from everlearn.orchestration.schedules import find_night, set_schedule

        schedule = set_schedule(client, night, cron=cron, timezone=timezone)
        rows = [
            ("next" if number == 0 else "", f"{each:%a %Y-%m-%d %H:%M %Z}")
            for number, each in enumerate(next_times(schedule, n=5))
        ]
        print_note(f"line {night.line}: nights start at {cron} {timezone}")
        print_result(None, as_json=False, text=table("", "", rows=rows))
        if find_night(client, line=night.line).paused:
            print_note("the line is paused: no night starts until `everlearn schedule resume`")
        warning = midnight_warning(schedule)
        if warning is not None:
            print_note(warning)


@schedule.command()
def pause(context: typer.Context, *, line: Line = None) -> None:
    """Start no more nights until `everlearn schedule resume`. A running night continues.

    everlearn schedule pause --line math
    """
    set_paused(context, line, paused=True)


@schedule.command()
def resume(context: typer.Context, *, line: Line = None) -> None:
    """Start nights on schedule again.

    everlearn schedule resume --line math
    """
    set_paused(context, line, paused=False)


@schedule.command(name="run-now")
def run_now(context: typer.Context, *, line: Line = None, json: Json = False) -> None:
    """Start a night now, on the next free worker.

    everlearn schedule run-now --line math
    """
    with nightly_deployment(context, line) as (client, night):
        from everlearn.orchestration.schedules import start_night

        run = start_night(client, night)
        waits = " and ".join(night.workers)
        print_result(
            {"run": str(run)} | {"workers": night.workers},
            as_json=json,
            text=f"run {run} waits for workers of {waits}",
        )
        warn_about_workers(night)


def warn_about_workers(night: Any) -> None:
    """Warn about pools without a worker, in which runs would wait."""
    for pool in night.pools_without_workers:
        print_note(f"no worker of pool {pool} is online: nothing runs there until `everlearn worker --pool {pool}`")


def set_paused(context: typer.Context, line: str | None, *, paused: bool) -> None:
    """Pause or resume the schedule of a line."""
    with nightly_deployment(context, line) as (client, night):
        from everlearn.orchestration import schedules

        schedules.set_paused(client, night, paused=paused)
        print_note(f"line {night.line}: nights {'are paused' if paused else 'start on schedule'}")


@contextlib.contextmanager
def nightly_deployment(context: typer.Context, line: str | None) -> Iterator[tuple[Any, Any]]:
    """Yield a client, and the nightly deployment of the line."""
    installation: Installation = context.obj
    installation.connect()
    from everlearn.orchestration.direct_client import connect
    from everlearn.orchestration.schedules import find_night

    with connect() as client:
        yield client, find_night(client, line=line or installation.settings().store.line)


@contextlib.contextmanager
def prefect_client(installation: Installation) -> Iterator[Any]:
    """Yield a client of the Prefect server. ServiceError if there is none, or it does not answer."""
    installation.connect()
    from everlearn.orchestration.api_client import connect  # Prefect reads its environment when it is imported

    with connect() as client:
        yield client
