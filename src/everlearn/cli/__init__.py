"""The command line, `everlearn …`, a module for each group of commands. It puts the other packages together.

Only this package uses the terminal (typer, rich); it may import every other one. Each command imports heavy packages
when it runs, so that light commands start fast. An expected error becomes one message with its remedy and an exit code;
any other error is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import (
    approve,
    collect,
    compare,
    consumers,
    domain,
    exit_codes,
    gate,
    guarding,
    history,
    keys,
    leaks,
    new_project,
    nights,
    repair,
    schedule,
    serve,
    serve_metrics,
    servers,
    solve,
    unbar,
    worker,
)
from everlearn.cli.context import Installation
from everlearn.cli.output import Profile, print_error
from everlearn.cli.project import check_projects
from everlearn.errors import EverlearnError

EPILOG = f"""
A first session: `everlearn init demo`, `cd demo`, `everlearn cycle --data examples`, `everlearn status`.

Exit codes:

{exit_codes.as_markdown()}
"""

app = typer.Typer(
    name="everlearn",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    new_project,
    servers,
    nights,
    compare,
    solve,
    history,
    consumers,
    serve,
    approve,
    unbar,
    leaks,
    guarding,
    repair,
    collect,
    schedule,
    worker,
    serve_metrics,
):
    app.registered_commands += part.app.registered_commands
app.add_typer(keys.app, name="keys")
app.add_typer(domain.app, name="domain")
app.add_typer(gate.app, name="gate")
app.add_typer(schedule.schedule, name="schedule")
check_projects(app)


def print_version(*, wanted: bool) -> None:
    """Print the installed version and end the command, if `--version` was given."""
    if wanted:
        typer.echo(version("everlearn"))
        raise typer.Exit


Home = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="State of the local servers and downloads; by default .everlearn beside FILE."),
]
Params = Annotated[Path, typer.Option(metavar="FILE", help="Settings file; EVERLEARN_* variables override it.")]
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log to standard error.")]


@app.callback()
def everlearn(
    context: typer.Context,
    *,
    home: Home = None,
    params: Params = Path("params.yaml"),
    profile: Profile = None,
    verbose: Verbose = False,
    version: Version = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Keep a language model learning after it ships.

    Every night reads new problems, grows a ladder of easier variants that the model proposes itself, trains on verified
    answers, tests that the result is better and nowhere worse, and publishes a version that one command rolls back.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(
            logging.INFO if verbose else logging.WARNING
        )  # for records that Prefect's loggers propagate as well
        handler.removeFilter(is_not_from_prefect) if verbose else handler.addFilter(is_not_from_prefect)
    context.obj = Installation.beside(params, home=home, profile=profile)


def is_not_from_prefect(record: logging.LogRecord) -> bool:
    """Whether to show a record: Prefect logs the error of a run up to three times, and `main` prints it once."""
    return not record.name.startswith("prefect.")


def main() -> None:
    """Run the command line and end the process with a documented exit code."""
    # Before any library starts its threads: idle ones must sleep instead of spin on a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # loading takes less than a second
    os.environ.setdefault("DO_NOT_TRACK", "1")  # no telemetry from Prefect
    # The name of a file that is not UTF-8 is shown, instead of a traceback after all was done.
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # Nearly all objects of a short command live until it ends: fewer collections save 30 ms.
    gc.set_threshold(100_000, 20, 20)
    try:
        app()
    except EverlearnError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        explained = exit_codes.explain(error)
        if explained is None:
            raise
        print_error(explained[1])
        sys.exit(explained[0])
