"""`everlearn …`: the one place where the parts are put together. Only this package knows the terminal.

Each command imports what it needs when it runs, so that the light ones answer at once. An error that a user can
answer becomes one message with its remedy and an exit code; any other is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import (
    approve,
    collect,
    consumers,
    history,
    keys,
    nights,
    repair,
    schedule,
    serve_metrics,
    servers,
    worker,
)
from everlearn.cli.context import Place
from everlearn.cli.output import complain
from everlearn.errors import EverlearnError

DISK_FULL = 9
EPILOG = """
A first session: `everlearn up`, `everlearn doctor`, `everlearn cycle`, `everlearn status`.

Exit codes:

- 0 done (also: nothing new, or done before)
- 1 doctor found something amiss
- 2 wrong input, setting or option
- 3 the object store said no, or did not answer
- 4 the line's history does not allow this
- 5 a digest, a signature or the chain does not hold
- 6 the night cannot go on
- 7 a base model or an adapter that cannot be used
- 8 a local server that does not start or stop
- 9 the disk is full
- 10 the gate rejected the night's candidate
- 11 the gate could not tell
- 12 the champion has changed, but a consumer has not followed in time
- 130 stopped by Ctrl-C
- 143 stopped by SIGTERM
"""

app = typer.Typer(
    name="everlearn",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (servers, nights, history, consumers, approve, repair, collect, schedule, worker, serve_metrics):
    app.registered_commands += part.app.registered_commands
app.add_typer(keys.app, name="keys")
app.add_typer(schedule.schedule, name="schedule")

Home = Annotated[Path, typer.Option(metavar="DIR", help="State of the local servers and downloads.")]
Params = Annotated[Path, typer.Option(metavar="FILE", help="Settings; EVERLEARN_* variables win over them.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error.")]


@app.callback()
def everlearn(
    context: typer.Context,
    *,
    home: Home = Path(".everlearn"),
    params: Params = Path("params.yaml"),
    verbose: Verbose = False,
) -> None:
    """Keep a language model learning after it ships.

    Every night: new problems in, a ladder of easier ones that the model makes itself, training on what was verified, a
    gate that proves better and nowhere worse, and a published version that one command takes back.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.INFO if verbose else logging.WARNING)  # what Prefect's own loggers pass on, too
        handler.removeFilter(is_ours) if verbose else handler.addFilter(is_ours)
    context.obj = Place(home=home, params=params)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether nobody else says it: what stopped a run, Prefect logs up to three times, and `main` once."""
    return not record.name.startswith("prefect.")


def main() -> None:
    """Run the command line and end the process with a documented exit code."""
    # Set before any library starts its threads: idle ones must wait, not spin, on a machine that is shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # loading two megabytes needs none
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect reports its first flow at a terminal, unless it is told not to
    # Nearly all that a short command makes stays until it ends: 30 ms of looking for garbage less.
    gc.set_threshold(100_000, 20, 20)
    try:
        app()
    except EverlearnError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        complain(f"the disk is full ({error}); make room and run the same command again: it continues where it was")
        sys.exit(DISK_FULL)
