"""What a command says, and where: the answer on standard output, everything else on standard error.

With `--json` the answer is one JSON document on one line, for programs; without, tables and sentences for people.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

Json = Annotated[bool, typer.Option("--json", help="Answer with one line of JSON.", show_default=False)]


def answer(facts: Any, *, as_json: bool, shown: RenderableType) -> None:
    """Print the answer, as `facts` for programs or as `shown` for people."""
    if as_json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False, default=str) + "\n")
    else:
        Console(soft_wrap=isinstance(shown, str)).print(shown, markup=not isinstance(shown, str))


def tell(text: str) -> None:
    """Say something that is not the answer."""
    errors().print(text, markup=False)


def complain(text: str) -> None:
    """Say what went wrong, in red and without interpreting brackets in it."""
    errors().print(text, style="bold red", markup=False)


def errors() -> Console:
    """Standard error, where nothing is wrapped, so that paths can be copied."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(*columns: str, rows: Iterable[Sequence[object]]) -> Table:
    """A plain table. None is shown as a dash, `Text` in its style, all else as it is: brackets are no markup here."""
    made = Table(*columns, box=None, header_style="bold", pad_edge=False, show_header=any(columns))
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text("-" if cell is None else str(cell)) for cell in row))
    return made


def narrate() -> None:
    """Let what the night says of itself appear on standard error, with the time of day, and nothing of its engine."""
    from everlearn.telemetry import logs

    handler = logging.StreamHandler()
    handler.setFormatter(logs.formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S", terminal=sys.stderr.isatty()))
    logger = logging.getLogger("everlearn")
    logger.handlers = [each for each in logger.handlers if type(each) is not logging.StreamHandler] + [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
