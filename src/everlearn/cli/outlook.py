"""What consumers will see after the champion has changed, and whether they have seen it yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from everlearn.cli.screen import tell
from everlearn.errors import LateError, StoreError
from everlearn.replicas import replicas, wait_for_all

if TYPE_CHECKING:
    from everlearn.registry import Registry

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> float:
    """`60s`, `5m`, `1h` or a number of seconds, in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 60s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def outlook(registry: Registry) -> dict[str, Any]:
    """What a consumer that looks now is given, and what each has said last. No error where that cannot be listed."""
    state = registry.state()
    given: dict[str, Any] = {"version": state.champion, "manifest": None, "files": {}}
    if state.champion:
        files = registry.manifest(state.champion).files
        given |= {
            "manifest": state.versions[state.champion].manifest,
            "files": {name: ref.size for name, ref in files.items()},
        }
    try:
        found = replicas(registry, state=state)
    except StoreError as error:
        tell(f"what consumers have acknowledged cannot be read: {error}")
        found = ()
    said = [
        {
            "consumer": each.consumer,
            "version": each.acknowledged.version if each.acknowledged else None,
            "behind": each.behind,
        }
        for each in found
    ]
    return {"consumers_get": given, "consumers": said}


def sentences(facts: dict[str, Any]) -> str:
    """The same for people."""
    given = facts["consumers_get"]
    if given["version"] is None:
        told = ["from now on a pull of the champion is refused: the base model alone serves"]
    else:
        what = f"manifest {given['manifest'][:12]}, {len(given['files'])} files, {sum(given['files'].values()):,} bytes"
        told = [f"from now on a pull of the champion gives {given['version']} ({what})"]
    for each in facts["consumers"]:
        serves = each["version"] or "the base model"
        told.append(f"{each['consumer']} serves {serves}" + (" and has not followed yet" if each["behind"] else ""))
    return "".join(f"\n  {line}" for line in told)


def wait(registry: Registry, *, patience_s: float) -> None:
    """Wait until every consumer has acknowledged the champion. LateError names those that have not."""
    tell(f"waiting up to {patience_s:g} s until all consumers have followed")
    late = wait_for_all(registry, patience_s=patience_s)
    if late:
        names = ", ".join(each.consumer for each in late)
        raise LateError(
            f"done, but {names} did not follow within {patience_s:g} s; look at the log there, or, if it is no more, "
            f"`everlearn replicas --forget {late[0].consumer}`"
        )
    tell("all consumers have followed")
