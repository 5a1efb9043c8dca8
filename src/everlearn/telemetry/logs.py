"""What is logged: every line knows its line of adapters, its cycle and its run; as text, or as JSON for machines.

    with bound(line="math", run="7c0e…"):
        LOG.info("ladder: %d rungs", 480)

    EVERLEARN_LOG=json      one JSON object a line: time, level, logger, message, line, cycle, run, and exception
    EVERLEARN_LOG=text      the default. At a terminal the fields are left out: there is one line, one night, one run

The value of a variable that holds a secret is never shown, whoever logs it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

from everlearn.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "EVERLEARN_LOG"
FIELDS = ("line", "cycle", "run")
SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "EVERLEARN_SIGNING_KEY", "PREFECT_API_AUTH_STRING",
    "PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_API_KEY",
)  # fmt: skip
HIDDEN = "***"
SHORTEST = 8
"""A shorter value is no secret, and hiding it would spoil every line that has it by chance."""
_BOUND: ContextVar[dict[str, str]] = ContextVar("everlearn_log", default={})  # noqa: B039 - never changed, only replaced


@contextlib.contextmanager
def bound(*, line: str | None = None, cycle: str | None = None, run: str | None = None) -> Iterator[None]:
    """Let every line that is logged in here carry these fields; None changes nothing."""
    given = {name: value for name, value in (("line", line), ("cycle", cycle), ("run", run)) if value}
    before = _BOUND.get()
    _BOUND.set(before | given)
    try:
        yield
    finally:
        _BOUND.set(before)


def fields() -> dict[str, str]:
    """What a line that is logged now would carry."""
    return dict(_BOUND.get())


def hide(text: str) -> str:
    """The text without the values of secret variables."""
    for name in SECRETS:
        value = os.environ.get(name, "").strip()
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN).replace(value.replace("\n", "\\n"), HIDDEN)
    return text


class Text(logging.Formatter):
    """The line as it is, and behind it the fields, unless somebody looks on at a terminal."""

    def __init__(self, form: str, *, dates: str | None = None, terminal: bool = False) -> None:
        super().__init__(form, datefmt=dates)
        self.terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback where there is one."""
        told = "" if self.terminal else "".join(f" {name}={value}" for name, value in fields().items())
        first, mark, rest = super().format(record).partition("\n")
        return hide(f"{first}{told}{mark}{rest}")


class Json(JsonFormatter):
    """One JSON object a line."""

    def __init__(self) -> None:
        super().__init__(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        """The object, with all the fields: null where there is none."""
        for name, value in (dict.fromkeys(FIELDS) | fields()).items():
            setattr(record, name, value)
        return hide(super().format(record))


def formatter(form: str, *, dates: str | None = None, terminal: bool = False) -> logging.Formatter:
    """The one that EVERLEARN_LOG asks for. SettingsError if it asks for something else."""
    return Json() if wants_json() else Text(form, dates=dates, terminal=terminal)


def wants_json() -> bool:
    """Whether machines read the log. SettingsError where the variable says neither."""
    told = os.environ.get(VARIABLE, "text")
    if told not in {"json", "text"}:
        raise SettingsError(f"{VARIABLE}={told!r}: it is json or text")
    return told == "json"


def dress_all(*names: str) -> None:
    """Let what these loggers write to a stream be as EVERLEARN_LOG asks, whoever set them up. "" is the root."""
    if wants_json():
        for name in names:
            for handler in logging.getLogger(name or None).handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setFormatter(Json())
