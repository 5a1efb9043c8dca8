"""How long to wait for consumers, and waiting for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from everlearn.cli.output import tell
from everlearn.errors import LateError
from everlearn.registry.acknowledgements import wait_until_followed

if TYPE_CHECKING:
    from everlearn.registry.versions import Registry

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> float:
    """`60s`, `5m`, `1h` or a number of seconds, in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 60s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def wait(registry: Registry, *, patience_s: float) -> None:
    """Wait until every consumer has acknowledged the champion. LateError names those that have not."""
    tell(f"waiting up to {patience_s:g} s until all consumers have followed")
    late = wait_until_followed(registry, timeout_s=patience_s)
    if late:
        names = ", ".join(each.consumer for each in late)
        raise LateError(
            f"done, but {names} did not follow within {patience_s:g} s; look at the log there, or, if it is no more, "
            f"`everlearn replicas --forget {late[0].consumer}`"
        )
    tell("all consumers have followed")
