"""Automations as code: read them from a file, compare them with the server, and apply them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from prefect.events.schemas.automations import Automation, AutomationCore
from pydantic import ValidationError

from everlearn.errors import BadInputError
from everlearn.orchestration.direct_client import send
from everlearn.orchestration.notifications import with_targets
from everlearn.orchestration.server_changes import ServerChange

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

COMPARED = {"description", "trigger", "actions"}
"""Whether an automation is enabled is left to the users of the dashboard."""


def read_automations(file: Path, *, targets: tuple[UUID, ...] = ()) -> dict[str, AutomationCore]:
    """Return the automations in `file` by name, none if there is no file. BadInputError if one is invalid.

    With `targets`, each action is repeated for each target.
    """
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else []
        parsed = [AutomationCore.model_validate(with_targets(each, targets) if targets else each) for each in entries]
    except (yaml.YAMLError, ValidationError, TypeError, KeyError) as error:
        raise BadInputError(f"{file} is not a list of Prefect automations ({error})") from None
    return {automation.name: automation for automation in parsed}


def compare_automations(
    client: SyncPrefectClient, wanted: Mapping[str, AutomationCore], *, unwanted: Collection[str]
) -> Iterator[ServerChange]:
    """Yield what `apply_automations` would change."""
    present = find_automations(client, [*wanted, *unwanted])
    for name, automation in wanted.items():
        current = next(iter(present.get(name, ())), None)
        if current is None:
            yield ServerChange(name=f"automation {name}")
        elif _differs(current, automation):
            title = f"automation {name}"
            yield ServerChange(name=title, field="definition", before="another", after="that of the file")
    for name in sorted(unwanted):
        yield from (ServerChange(name=f"automation {name}", gone=True) for _ in present.get(name, ()))


def apply_automations(
    client: SyncPrefectClient, wanted: Mapping[str, AutomationCore], *, unwanted: Collection[str]
) -> None:
    """Create or update the `wanted` automations; delete those whose names are `unwanted`."""
    present = find_automations(client, [*wanted, *unwanted])
    for name, automation in wanted.items():
        current = next(iter(present.get(name, ())), None)
        if current is None:
            client.create_automation(automation)
        elif _differs(current, automation):
            client.update_automation(current.id, automation)
    for name in sorted(unwanted):
        for automation in present.get(name, ()):
            client.delete_automation(automation.id)


def find_automations(client: SyncPrefectClient, names: Sequence[str]) -> dict[str, list[Automation]]:
    """Return the automations of these names with one request."""
    query = {"automations": {"name": {"any_": list(names)}}, "limit": 200}
    found: dict[str, list[Automation]] = {}
    for each in send(client, "POST", "/automations/filter", query):
        automation = Automation.model_validate(each)
        found.setdefault(automation.name, []).append(automation)
    return found


def _differs(current: Automation, wanted: AutomationCore) -> bool:
    return bool(_definition(current) != _definition(wanted))


def _definition(automation: AutomationCore) -> Any:
    """Return the compared fields without the ids that the server assigns.

    Sets stay sets: serialized as JSON lists their order would differ from call to call.
    """
    definition = automation.model_dump(include=COMPARED)
    definition["trigger"].pop("id", None)
    return definition
