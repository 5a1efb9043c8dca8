"""Output of commands: the result on standard output, everything else on standard error.

With `--json` the result is one JSON document on one line, for programs; otherwise tables and sentences for people.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from everlearn.telemetry.plain_text import without_controls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Profile in params.yaml, with its line; by default EVERLEARN_PROFILE, else that of the file.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation, even at a terminal.")]


class PlainConsole(Console):
    """A console whose own styles alone reach the terminal: no control characters of a text, and `:x:` is no emoji."""

    def __init__(self, **options: Any) -> None:
        super().__init__(emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of a renderable, its texts without control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(without_controls(segment.text), segment.style)


def print_result(facts: Any, *, as_json: bool, text: RenderableType) -> None:
    """Print the result on standard output: `facts` as JSON, or `text` for people."""
    if as_json:
        line = json.dumps(facts, ensure_ascii=False, default=str)
        try:
            line.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # a name of a file that is not UTF-8, or another encoding of the terminal
            line = json.dumps(facts, default=str)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()  # a command that goes on may be read by another one
    else:
        PlainConsole(soft_wrap=isinstance(text, str)).print(text, markup=not isinstance(text, str))


def print_note(text: str) -> None:
    """Print something that is not the result on standard error."""
    stderr_console().print(text, markup=False)


def print_error(text: str) -> None:
    """Print an error in red on standard error. Brackets in it are not markup."""
    stderr_console().print(text, style="bold red", markup=False)


def stderr_console() -> PlainConsole:
    """Return a console on standard error that does not wrap lines, so that paths can be copied."""
    return PlainConsole(stderr=True, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, if it is a terminal, and yield the function that updates it: (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = stderr_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def is_interactive(*, yes: bool = False) -> bool:
    """Whether to ask for confirmation: standard input is a terminal and `--yes` was not given."""
    return sys.stdin is not None and sys.stdin.isatty() and not yes  # None: it is closed


def confirm(question: str) -> None:
    """Ask for confirmation on standard error, and end the command unless the answer is yes."""
    typer.confirm(question, abort=True, err=True)


def table(*columns: str, rows: Iterable[Sequence[object]]) -> Table:
    """Return a table without borders. None is shown as a dash, `Text` in its style; brackets are not markup."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False, show_header=any(columns))
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text("-" if cell is None else str(cell)) for cell in row))
    return made


def log_to_stderr() -> None:
    """Show the log of `everlearn` on standard error with the time of day, without the log of Prefect."""
    from everlearn.telemetry import logs

    handler = logging.StreamHandler()
    handler.setFormatter(logs.formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S", terminal=sys.stderr.isatty()))
    logger = logging.getLogger("everlearn")
    # Exactly this type: handlers derived from it belong to Prefect or to a test.
    logger.handlers = [each for each in logger.handlers if type(each) is not logging.StreamHandler] + [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
