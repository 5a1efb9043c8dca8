"""How far a long step is: a bar with rate and remaining time at a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Protocol, cast

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

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
        yield _Told(text)
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


class _Told:
    """At most one log line in ten seconds, and the last one; the same as a bar in the dashboard, where there is one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._last = time.monotonic()
        self._bar: UUID | None = None

    def __call__(self, done: int, of: int, note: str = "") -> None:
        if done < of and time.monotonic() - self._last <= SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        LOG.info("%s: %d of %d %s", self._text, done, of, note)
        if TaskRunContext.get() is not None:
            with contextlib.suppress(httpx.HTTPError, PrefectException, RuntimeError):  # a bar is worth no night
                self._show(100.0 * done / of if of else 100.0, f"{self._text}: {done} of {of} {note}")

    def _show(self, percent: float, text: str) -> None:
        if self._bar is None:
            self._bar = cast("UUID", create_progress_artifact(percent, description=text))
        else:
            update_progress_artifact(self._bar, percent, description=text)
