"""Deployments as code: what infra/prefect.yaml says of a line, what the server has, and making the one the other.

    plan = read_plan(Path("infra/prefect.yaml"), line="math", directory=Path("/srv/everlearn"))
    with get_client(sync_client=True) as client:
        for change in compare(plan, client):
            print(change)
    apply(plan)

Prefect's own `deploy` applies them; here they are compared before, because it does not say what it will change. When
nights begin is written at the first deployment and left alone after that: it belongs to `everlearn schedule`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from everlearn.errors import BadInputError, ServiceError
from everlearn.orchestration import pools
from everlearn.orchestration.notifications import NOBODY, addressed
from everlearn.orchestration.schedules import await_nights, read_times
from everlearn.orchestration.server_changes import ServerChange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

FILE = Path("infra/prefect.yaml")
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """What one line wants of the server. `deployments` are Prefect's own entries, `environ` what their gaps are filled with.

    `unwanted` are names of automations that must not be there.
    """

    line: str
    file: Path
    environ: dict[str, str]
    deployments: dict[str, dict[str, Any]]
    automations: dict[str, AutomationCore]
    unwanted: frozenset[str] = frozenset()

    @property
    def queues(self) -> set[tuple[str, str]]:
        """Pool and queue of each deployment."""
        return {(each["work_pool"]["name"], each["work_pool"]["work_queue_name"]) for each in self.deployments.values()}


def read_plan(file: Path, *, line: str, directory: Path, targets: tuple[UUID, ...] = ()) -> DeploymentPlan:
    """The deployments in `file` for one line, and the automations in the files beside it. BadInputError if they are none.

    Notifications go to all `targets` (notify.py); without one there are none, and those of before are unwanted.
    """
    environ = {"EVERLEARN_STORE__LINE": line, "EVERLEARN_DIRECTORY": str(directory.absolute())}
    try:
        text = file.read_text(encoding="utf-8")
        written = yaml.safe_load(_VARIABLE.sub(lambda found: environ.get(found[1], found[0]), text))
        deployments = {f"{_flow(each['entrypoint'])}/{each['name']}": each for each in written["deployments"]}
    except OSError as error:
        raise BadInputError(f"{file} cannot be read ({error.strerror}); run this where Everlearn's infra/ is") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInputError(f"{file} is no list of deployments as Prefect wants it ({error})") from None
    _check_times(file, deployments)
    wanted = _read_automations(file.with_name("automations.yaml"))
    told = _read_automations(file.with_name("notifications.yaml"), targets=targets or (NOBODY,))
    return DeploymentPlan(
        line=line,
        file=file,
        environ=environ,
        deployments=deployments,
        automations=wanted | told if targets else wanted,
        unwanted=frozenset() if targets else frozenset(told),
    )


def compare(plan: DeploymentPlan, client: SyncPrefectClient) -> tuple[ServerChange, ...]:
    """What applying the plan would change on the server; nothing where it was applied before."""
    lacking = (ServerChange(name=name) for name in pools.missing(client, queues=plan.queues))
    return (
        *lacking,
        *_new_deployments(plan, client),
        *_lost_triggers(plan, client),
        *_new_automations(plan, client),
        *(ServerChange(name=f"automation {each.name}", gone=True) for each in _unwanted(plan, client)),
    )


def apply(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    """Make the server have what the plan says. ServiceError with Prefect's own words if it refuses."""
    pools.ensure(client, queues=plan.queues)
    _apply_automations(plan, client)
    _apply_deployments(plan, client)
    await_nights(client)


def _apply_deployments(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    kept = {name: found for name in plan.deployments if (found := _find(client, name)) is not None}
    written = yaml.safe_load(plan.file.read_text(encoding="utf-8"))
    for name, entry in zip(plan.deployments, written["deployments"], strict=True):
        if name in kept:
            entry["schedules"] = [_entry_of(each) for each in kept[name].schedules]
            entry["paused"] = kept[name].paused
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(
            command,
            env=os.environ | plan.environ | {"PREFECT_API_URL": str(client.api_url)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise ServiceError(f"Prefect refused the deployments of line {plan.line}:\n{done.stdout}{done.stderr}")


def _apply_automations(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    for name, wanted in plan.automations.items():
        there = _find_automation(client, name)
        if there is None:
            client.create_automation(wanted)
        elif _differs(there, wanted):
            client.update_automation(there.id, wanted)
    for each in _unwanted(plan, client):
        client.delete_automation(each.id)


def _new_deployments(plan: DeploymentPlan, client: SyncPrefectClient) -> Iterator[ServerChange]:
    for name, entry in plan.deployments.items():
        found = _find(client, name)
        if found is None:
            yield ServerChange(name=name)
            continue
        has, wants = _facts_of(found), _facts(entry)
        yield from (
            ServerChange(name=name, field=field, before=has[field], after=wants[field])
            for field in wants
            if has[field] != wants[field]
        )


def _lost_triggers(plan: DeploymentPlan, client: SyncPrefectClient) -> Iterator[ServerChange]:
    """Prefect makes an automation of each trigger of a deployment, under a name of its own."""
    for entry in plan.deployments.values():
        for number, _ in enumerate(entry.get("triggers") or (), start=1):
            name = f"{entry['name']}__automation_{number}"
            if _find_automation(client, name) is None:
                yield ServerChange(name=f"automation {name}")


def _new_automations(plan: DeploymentPlan, client: SyncPrefectClient) -> Iterator[ServerChange]:
    for name, wanted in plan.automations.items():
        found = _find_automation(client, name)
        if found is None:
            yield ServerChange(name=f"automation {name}")
        elif _differs(found, wanted):
            yield ServerChange(
                name=f"automation {name}", field="definition", before="another", after="that of the file"
            )


def _unwanted(plan: DeploymentPlan, client: SyncPrefectClient) -> Iterator[Automation]:
    """What tells people where nobody is to be told: it would fail each time."""
    for name in sorted(plan.unwanted):
        yield from client.read_automations_by_name(name)


def _check_times(file: Path, deployments: dict[str, dict[str, Any]]) -> None:
    """BadInputError names the deployment whose times are none."""
    for name, entry in deployments.items():
        for each in entry.get("schedules") or ():
            try:
                if "cron" in each:
                    read_times(each["cron"], each.get("timezone", "UTC"))
            except BadInputError as error:
                raise BadInputError(f"{file}: {name}: {error}; mend it there") from None


def _read_automations(file: Path, *, targets: tuple[UUID, ...] = ()) -> dict[str, AutomationCore]:
    """By name; none where there is no such file."""
    try:
        written = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else []
        read = [AutomationCore.model_validate(addressed(each, targets) if targets else each) for each in written]
    except (yaml.YAMLError, ValidationError, TypeError, KeyError) as error:
        raise BadInputError(f"{file} is no list of automations as Prefect wants it ({error})") from None
    return {each.name: each for each in read}


def _find_automation(client: SyncPrefectClient, name: str) -> Automation | None:
    return next(iter(client.read_automations_by_name(name)), None)


def _differs(found: Automation, wanted: AutomationCore) -> bool:
    """Whether the server has another definition; whether it is switched on is left to people."""
    parts = {"description", "trigger", "actions"}
    return bool(_plain(found, parts) != _plain(wanted, parts))


def _plain(automation: AutomationCore, parts: set[str]) -> Any:
    """The definition without the ids that the server gives. Sets stay sets: as JSON they have no order to rely on."""
    told = automation.model_dump(include=parts)
    told["trigger"].pop("id", None)
    return told


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    """What of an entry in the file can be compared."""
    pool, limit = entry["work_pool"], entry.get("concurrency_limit") or {}
    return {
        "entrypoint": entry["entrypoint"],
        "description": entry.get("description"),
        "tags": sorted(entry.get("tags") or ()),
        "parameters": entry.get("parameters") or {},
        "work queue": f"{pool['name']}/{pool['work_queue_name']}",
        "environment": pool.get("job_variables", {}).get("env", {}),
        "runs at once": limit.get("limit"),
    }


def _facts_of(found: DeploymentResponse) -> dict[str, Any]:
    """The same of a deployment on the server."""
    limit = found.global_concurrency_limit
    return {
        "entrypoint": found.entrypoint,
        "description": found.description,
        "tags": sorted(found.tags),
        "parameters": found.parameters,
        "work queue": f"{found.work_pool_name}/{found.work_queue_name}",
        "environment": (found.job_variables or {}).get("env", {}),
        "runs at once": limit.limit if limit else None,
    }


def _entry_of(schedule: Any) -> dict[str, Any]:
    """A schedule of the server as an entry of the file."""
    told: dict[str, Any] = schedule.schedule.model_dump(mode="json", exclude_none=True)
    return told | {"active": schedule.active} | ({"slug": schedule.slug} if schedule.slug else {})


def _flow(entrypoint: str) -> str:
    """The name of the flow: `flows.roll_back.roll_back` is `roll-back`."""
    return entrypoint.rpartition(".")[2].replace("_", "-")
