"""Deployments as code: read infra/prefect.yaml for a line, compare it with the server, and apply it.

    plan = read_plan(Path("infra/prefect.yaml"), line="math", directory=Path("/srv/everlearn"))
    with get_client(sync_client=True) as client:
        for change in compare(plan, client):
            print(change)
        apply(plan, client)

`prefect deploy` does the deploying, but does not report beforehand what it will change, so the comparison is made here.
Schedules are written at the first deployment only: later they belong to `everlearn schedule`. Only a deployment that
runs but whose schedules are all switched off or deleted gets them back, since it would never start a run. A deployment
of the line that the file no longer names is deleted.
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
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import ObjectNotFound

from everlearn.errors import BadInputError, ServiceError
from everlearn.orchestration import work_pools
from everlearn.orchestration.automations import (
    apply_automations,
    compare_automations,
    find_automations,
    read_automations,
)
from everlearn.orchestration.cron_times import parse_schedule
from everlearn.orchestration.notifications import PLACEHOLDER
from everlearn.orchestration.schedules import PROFILE, TAG, emit_awaited, line_tag, nightly_name
from everlearn.orchestration.server_changes import ServerChange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import AutomationCore

ENTRYPOINTS = "flows."
"""The package that every entry point of ours is in."""
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """The wanted state of the server for one line.

    `deployments` are entries of Prefect's file by `flow/deployment` name, `environ` the values of its placeholders, and
    `unwanted` the names of automations to delete.
    """

    line: str
    file: Path
    environ: dict[str, str]
    deployments: dict[str, dict[str, Any]]
    automations: dict[str, AutomationCore]
    unwanted: frozenset[str] = frozenset()

    @property
    def profile(self) -> str:
        """Profile of the settings that scheduled nights use; by default that of the worker's own settings."""
        night = self.deployments.get(nightly_name(self.line), {})
        environ = night.get("work_pool", {}).get("job_variables", {}).get("env", {})
        return str(environ.get(PROFILE, "of the worker"))

    @property
    def queues(self) -> set[tuple[str, str]]:
        """Pool and queue of each deployment."""
        return {(each["work_pool"]["name"], each["work_pool"]["work_queue_name"]) for each in self.deployments.values()}


def read_plan(file: Path, *, line: str, directory: Path, targets: tuple[UUID, ...] = ()) -> DeploymentPlan:
    """Read the deployments in `file` for one line, and the automations in the files next to it.

    `directory` is where the flows run, `targets` are the ids of the notification targets; without a target there are no
    notifications, and existing ones are unwanted.

    Raises:
        BadInputError: A file is missing or invalid, or a schedule is.
    """
    environ = {"EVERLEARN_STORE__LINE": line, "EVERLEARN_DIRECTORY": str(directory.absolute())}
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(_VARIABLE.sub(lambda match: environ.get(match[1], match[0]), text))
        deployments = {f"{_flow_name(each['entrypoint'])}/{each['name']}": each for each in content["deployments"]}
        for each in deployments.values():
            _fields_in_file(each)  # reads a pool and a queue
    except OSError as error:
        raise BadInputError(f"{file} cannot be read ({error.strerror}); run this where Everlearn's infra/ is") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        fault = " ".join(str(error).split())
        raise BadInputError(
            f"{file} is not a list of Prefect deployments with work pools and queues ({fault})"
        ) from None
    if len(deployments) < len(content["deployments"]):
        raise BadInputError(f"{file} names a deployment twice: give each entry of a flow a name of its own")
    _check_schedules(file, deployments)
    automations = read_automations(file.with_name("automations.yaml"))
    notifications = read_automations(file.with_name("notifications.yaml"), targets=targets or (PLACEHOLDER,))
    return DeploymentPlan(
        line=line,
        file=file,
        environ=environ,
        deployments=deployments,
        automations=automations | notifications if targets else automations,
        unwanted=frozenset() if targets else frozenset(notifications),
    )


def compare(plan: DeploymentPlan, client: SyncPrefectClient) -> tuple[ServerChange, ...]:
    """Return what `apply` would change on the server; empty if the plan was applied before."""
    present = _deployments_of_line(plan, client)
    return (
        *(ServerChange(name=name) for name in work_pools.missing_queues(client, plan.queues)),
        *_changed_deployments(plan, client, present),
        *_missing_triggers(plan, client),
        *(ServerChange(name=name, gone=True) for name in _stale(plan, present)),
        *compare_automations(client, plan.automations, unwanted=plan.unwanted),
    )


def apply(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    """Bring the server into the state of the plan. ServiceError with Prefect's output if it refuses."""
    work_pools.create_queues(client, plan.queues)
    apply_automations(client, plan.automations, unwanted=plan.unwanted)
    _deploy(plan, client)
    for deployment in _stale(plan, _deployments_of_line(plan, client)).values():
        # The server keeps the automations of a deployment's triggers when the deployment is deleted.
        client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
        client.delete_deployment(deployment.id)
    emit_awaited(client)


def _deploy(plan: DeploymentPlan, client: SyncPrefectClient) -> None:
    """Run `prefect deploy` on a copy of the file that has the server's present schedules."""
    existing = {name: found for name in plan.deployments if (found := _find(client, name)) is not None}
    content = yaml.safe_load(plan.file.read_text(encoding="utf-8"))
    for name, entry in zip(plan.deployments, content["deployments"], strict=True):
        if name in existing:
            entry["schedules"] = _wanted_schedules(entry, existing[name])
            entry["paused"] = existing[name].paused
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            env=os.environ | plan.environ | {"PREFECT_API_URL": str(client.api_url)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise ServiceError(f"Prefect refused the deployments of line {plan.line}:\n{done.stdout}{done.stderr}")


def _changed_deployments(
    plan: DeploymentPlan, client: SyncPrefectClient, present: dict[str, DeploymentResponse]
) -> Iterator[ServerChange]:
    for name, entry in plan.deployments.items():
        deployment = present.get(name) or _find(client, name)  # one whose tags were edited is found by its name only
        if deployment is None:
            yield ServerChange(name=name)
            continue
        current, wanted = _fields_on_server(deployment), _fields_in_file(entry)
        yield from (
            ServerChange(name=name, field=field, before=current[field], after=wanted[field])
            for field in wanted
            if current[field] != wanted[field]
        )
        yield from _stopped_schedule(name, entry, deployment)


def _stopped_schedule(name: str, entry: dict[str, Any], deployment: DeploymentResponse) -> Iterator[ServerChange]:
    """Yield the change of a deployment that has schedules in the file, is not paused, and would never start a run."""
    if entry.get("schedules") and not deployment.paused and not _is_scheduled(deployment):
        before = "switched off" if deployment.schedules else "none"
        yield ServerChange(name=name, field="schedule", before=before, after="active")


def _is_scheduled(deployment: DeploymentResponse) -> bool:
    return any(each.active for each in deployment.schedules)


def _wanted_schedules(entry: dict[str, Any], deployment: DeploymentResponse) -> list[dict[str, Any]]:
    """Return the schedules of a deployment on the server, active if all are off, or those of the file if there is none."""
    if not deployment.schedules:
        return list(entry.get("schedules") or ())
    stopped = not deployment.paused and not _is_scheduled(deployment)
    return [_schedule_entry(each) | ({"active": True} if stopped else {}) for each in deployment.schedules]


def _missing_triggers(plan: DeploymentPlan, client: SyncPrefectClient) -> Iterator[ServerChange]:
    """Prefect creates an automation with a name of its own for each trigger of a deployment."""
    names = [
        f"{entry['name']}__automation_{number}"
        for entry in plan.deployments.values()
        for number, _ in enumerate(entry.get("triggers") or (), start=1)
    ]
    present = find_automations(client, names)
    yield from (ServerChange(name=f"automation {name}") for name in names if name not in present)


def _deployments_of_line(plan: DeploymentPlan, client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Return the deployments of the plan's line by `flow/deployment` name, read with one request.

    A server may be shared with other lines and other projects, so each mark of ours is required: both tags, an entry
    point in `flows`, and a name that ends with the line.
    """
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, line_tag(plan.line)]))
    return {
        f"{_flow_name(each.entrypoint)}/{each.name}": each
        for each in client.read_deployments(deployment_filter=tagged)
        if each.entrypoint and each.entrypoint.startswith(ENTRYPOINTS) and each.name.endswith(f"-{plan.line}")
    }


def _stale(plan: DeploymentPlan, present: dict[str, DeploymentResponse]) -> dict[str, DeploymentResponse]:
    """Return the deployments of the plan's line that the plan does not name."""
    return {name: present[name] for name in sorted(present.keys() - plan.deployments.keys())}


def _check_schedules(file: Path, deployments: dict[str, dict[str, Any]]) -> None:
    """Raise BadInputError with the deployment's name for an invalid schedule."""
    for name, entry in deployments.items():
        for schedule in entry.get("schedules") or ():
            try:
                if "cron" in schedule:
                    parse_schedule(schedule["cron"], schedule.get("timezone", "UTC"))
            except BadInputError as error:
                raise BadInputError(f"{file}: {name}: {error}; correct it there") from None


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _fields_in_file(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the comparable fields of an entry in the file."""
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


def _fields_on_server(deployment: DeploymentResponse) -> dict[str, Any]:
    """Return the same fields of a deployment on the server."""
    limit = deployment.global_concurrency_limit
    return {
        "entrypoint": deployment.entrypoint,
        "description": deployment.description,
        "tags": sorted(deployment.tags),
        "parameters": deployment.parameters,
        "work queue": f"{deployment.work_pool_name}/{deployment.work_queue_name}",
        "environment": (deployment.job_variables or {}).get("env", {}),
        "runs at once": limit.limit if limit else None,
    }


def _schedule_entry(schedule: Any) -> dict[str, Any]:
    """Return a schedule of the server as an entry of the file."""
    entry: dict[str, Any] = schedule.schedule.model_dump(mode="json", exclude_none=True)
    return entry | {"active": schedule.active} | ({"slug": schedule.slug} if schedule.slug else {})


def _flow_name(entrypoint: str) -> str:
    """Return the flow's name: `roll-back` for `flows.roll_back.roll_back`."""
    return entrypoint.rpartition(".")[2].replace("_", "-")
