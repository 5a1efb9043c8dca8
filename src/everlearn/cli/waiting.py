"""Waiting for consumers to follow the champion: the option `--wait`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from everlearn.cli.output import print_note
from everlearn.registry.acknowledgements import require_followed

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> float:
    """Return `60s`, `5m`, `1h` or a plain number of seconds in seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write 60s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def wait_for_consumers(registry: Registry, *, timeout_s: float) -> None:
    """Wait until every consumer has acknowledged the champion. LateError names those that have not."""
    print_note(f"waiting up to {timeout_s:g} s until all consumers have followed")
    require_followed(registry, timeout_s=timeout_s)
    print_note("all consumers have followed")
