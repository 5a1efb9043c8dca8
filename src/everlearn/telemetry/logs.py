"""Log formatting: text or JSON, with line, cycle and run as context fields and secrets redacted.

    with log_context(line="math", run="7c0e…"):
        LOG.info("ladder: %d rungs", 480)

    EVERLEARN_LOG=json      one JSON object per record: time, level, logger, message, line, cycle, run, exception
    EVERLEARN_LOG=text      the default; context fields are appended unless the output is a terminal

The values of secret environment variables are replaced in every record.
"""

from __future__ import annotations

import contextlib
import logging
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

from everlearn.errors import SettingsError
from everlearn.telemetry.plain_text import without_controls

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "EVERLEARN_LOG"
FIELDS = ("line", "cycle", "run")
SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "EVERLEARN_SIGNING_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_API_KEY",
)
REDACTED = "***"
MIN_SECRET_LENGTH = 8  # replacing shorter values would garble ordinary text
_CONTEXT: ContextVar[dict[str, str]] = ContextVar("everlearn_log", default={})  # noqa: B039 - never mutated, only replaced


@contextlib.contextmanager
def log_context(*, line: str | None = None, cycle: str | None = None, run: str | None = None) -> Iterator[None]:
    """Add these fields to every record logged inside the block; None leaves a field unchanged."""
    given = {name: value for name, value in (("line", line), ("cycle", cycle), ("run", run)) if value}
    before = _CONTEXT.get()
    _CONTEXT.set(before | given)
    try:
        yield
    finally:
        _CONTEXT.set(before)


def context_fields() -> dict[str, str]:
    """Return the context fields of a record logged now."""
    return dict(_CONTEXT.get())


def redact(text: str) -> str:
    """Replace the values of secret environment variables in a text."""
    for name in SECRETS:
        value = os.environ.get(name, "").strip()
        if len(value) >= MIN_SECRET_LENGTH:
            text = text.replace(value, REDACTED).replace(value.replace("\n", "\\n"), REDACTED)
    return text


class TextFormatter(logging.Formatter):
    """Text records without control characters; the context fields follow the first line unless the output is a terminal."""

    def __init__(self, fmt: str, *, datefmt: str | None = None, terminal: bool = False) -> None:
        super().__init__(fmt, datefmt=datefmt)
        self.terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with its traceback if it has one."""
        context = "" if self.terminal else "".join(f" {name}={value}" for name, value in context_fields().items())
        first, mark, rest = super().format(record).partition("\n")
        return redact(without_controls(f"{first}{context}{mark}{rest}"))


class JsonLogFormatter(JsonFormatter):
    """One JSON object per record and line."""

    def __init__(self) -> None:
        super().__init__(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; missing context fields are null."""
        for name, value in (dict.fromkeys(FIELDS) | context_fields()).items():
            setattr(record, name, value)
        return redact(super().format(record))


def formatter(fmt: str, *, datefmt: str | None = None, terminal: bool = False) -> logging.Formatter:
    """Return the formatter that EVERLEARN_LOG selects. Raises SettingsError for an unknown format."""
    return JsonLogFormatter() if is_json() else TextFormatter(fmt, datefmt=datefmt, terminal=terminal)


def is_json() -> bool:
    """Return whether EVERLEARN_LOG selects JSON. Raises SettingsError for an unknown format."""
    selected = os.environ.get(VARIABLE, "text")
    if selected not in {"json", "text"}:
        raise SettingsError(f"{VARIABLE}={selected!r} is unknown; set it to json or text")
    return selected == "json"


def apply_format(*names: str) -> None:
    """Set the JSON formatter on the stream handlers of these loggers if EVERLEARN_LOG selects it. "" is the root logger."""
    if is_json():
        for name in names:
            for handler in logging.getLogger(name or None).handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setFormatter(JsonLogFormatter())
