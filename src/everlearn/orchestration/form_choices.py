"""Choices in the forms of the deployments `roll-back`, `promote` and `approve`: the versions that a user can select.

A deployment keeps a copy of its parameters' JSON schema. The dashboard draws the form from that copy, and the server
validates the parameters of a run against it. The choices are written into it as an `enum`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from everlearn.registry.line_state import BASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from everlearn.registry.line_state import State

LAST_GOOD = "last good"


def rollback_choices(state: State) -> list[str]:
    """Return the targets of a rollback: the default first, the base model, then versions, newest first."""
    return [LAST_GOOD, BASE, *promotion_choices(state)]


def promotion_choices(state: State) -> list[str]:
    """Return the versions that can become champion and are not, newest first."""
    usable = (entry for entry in state.versions.values() if not (entry.barred or entry.retired))
    return [entry.version for entry in usable if entry.version != state.champion][::-1]


def approval_choices(state: State) -> list[str]:
    """Return the versions that wait for approval, newest first."""
    return list(state.waiting)[::-1]


FORMS: dict[str, tuple[str, Callable[[State], list[str]]]] = {
    "roll-back": ("to", rollback_choices),
    "promote": ("version", promotion_choices),
    "approve": ("version", approval_choices),
}
"""Flow name -> the field of its form, and the choices for it."""


def with_choices(schema: dict[str, Any], *, field: str, choices: list[str]) -> dict[str, Any]:
    """Return a copy of a parameter schema in which `field` accepts only `choices`. No choices leave it unrestricted."""
    restricted = copy.deepcopy(schema)
    for definition in restricted.get("definitions", {}).values():
        parameter = definition.get("properties", {}).get(field)
        if parameter is not None and parameter.get("type") == "string":
            parameter.pop("enum", None)
            if choices:
                parameter["enum"] = choices
    return restricted
