"""Progress of a long step: a bar with rate and remaining time at a terminal, log lines and a Prefect bar elsewhere."""

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


class ReportProgress(Protocol):
    """Callback for a long step."""

    def __call__(self, done: int, of: int, note: str = "") -> None:
        """Show that `done` of `of` items are done, with a short note."""
        ...


@contextlib.contextmanager
def progress(text: str) -> Iterator[ReportProgress]:
    """Yield a callback that shows the progress of the step called `text`."""
    if not sys.stderr.isatty():
        yield _LoggedProgress(text)
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

    texts = [TextColumn(text) for text in ("{task.description}", "{task.fields[rate]}", "{task.fields[note]}")]
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    columns = (texts[0], BarColumn(), MofNCompleteColumn(), texts[1], *times, texts[2])
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task(text, total=None, note="", rate="")

        def report_progress(done: int, of: int, note: str = "") -> None:
            bar.update(shown, completed=done, total=of, note=note, rate=_rate(bar.tasks[0].speed))

        yield report_progress


def _rate(speed: float | None) -> str:
    """Return "3.2/s", or "12.0 s each" below one item per second."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


class _LoggedProgress:
    """Logs at most one line in ten seconds, and the last one. Within a Prefect task, updates a progress bar as well."""

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
            with contextlib.suppress(
                httpx.HTTPError, PrefectException, RuntimeError
            ):  # the night goes on without its bar
                self._show(100.0 * done / of if of else 100.0, f"{self._text}: {done} of {of} {note}")

    def _show(self, percent: float, text: str) -> None:
        if self._bar is None:
            self._bar = cast("UUID", create_progress_artifact(percent, description=text))
        else:
            update_progress_artifact(self._bar, percent, description=text)
