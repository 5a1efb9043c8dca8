"""How far a long step is: a bar with rate and remaining time at a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("everlearn.night")
SECONDS_BETWEEN_LINES = 10.0


class Tell(Protocol):
    """`done` of `of` are done; `note` stands beside the bar."""

    def __call__(self, done: int, of: int, note: str = "") -> None:
        """Show it."""
        ...


@contextlib.contextmanager
def progress(text: str) -> Iterator[Tell]:
    """What is given shows how many of how many are done."""
    if not sys.stderr.isatty():
        yield partial(_log, text, [time.monotonic()])
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task(text, total=None, note="", rate="")

        def tell(done: int, of: int, note: str = "") -> None:
            bar.update(shown, completed=done, total=of, note=note, rate=_rate(bar.tasks[0].speed))

        yield tell


def _rate(speed: float | None) -> str:
    """3.2/s, or 12 s each where that reads better."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


def _log(text: str, last: list[float], done: int, of: int, note: str = "") -> None:
    """At most one line in ten seconds, and the last one."""
    if done >= of or time.monotonic() - last[0] > SECONDS_BETWEEN_LINES:
        last[0] = time.monotonic()
        LOG.info("%s: %d of %d %s", text, done, of, note)
