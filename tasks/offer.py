"""Let the forms of the deployments `roll-back` and `promote` offer the versions that there are.

A deployment keeps a copy of its parameters' schema, which is what its form is drawn from and what a run's parameters
are checked against. The choices are written into that copy. Where no such deployment exists there is nothing to do, and
where Prefect does not answer nothing is lost: a flow checks again what it is given.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import PrefectException

from everlearn.errors import EverlearnError
from everlearn.registry.connect import open_registry
from everlearn.registry.events import BASE
from tasks.night import step_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from everlearn.registry.events import State
    from everlearn.settings import Settings

logger = logging.getLogger("everlearn.offer")
LAST_GOOD = "last good"
LINE = "EVERLEARN_STORE__LINE"


@step_task
def offer_versions(settings: Settings) -> int:
    """How many forms were refreshed. Never an error: what was published stays published."""
    try:
        state = open_registry(settings).state()
        with get_client(sync_client=True) as client:
            return sum(
                _refresh(client, flow, field=field, choices=choices(state), line=settings.store.line)
                for flow, (field, choices) in FORMS.items()
            )
    except (EverlearnError, httpx.HTTPError, PrefectException, RuntimeError) as error:
        logger.warning("the forms of the deployments could not be refreshed: %s", error)
        return 0


def returnable(state: State) -> list[str]:
    """What a rollback can be asked for, the default first, then the newest version first."""
    return [LAST_GOOD, BASE, *_fit(state)]


def promotable(state: State) -> list[str]:
    """What can be promoted, the newest first."""
    return _fit(state)


def approvable(state: State) -> list[str]:
    """What waits for somebody's word, the newest first."""
    return list(state.waiting)[::-1]


FORMS: dict[str, tuple[str, Callable[[State], list[str]]]] = {
    "roll-back": ("to", returnable),
    "promote": ("version", promotable),
    "approve": ("version", approvable),
}


def with_choices(schema: dict[str, Any], *, field: str, choices: list[str]) -> dict[str, Any]:
    """A parameter schema in which `field` can be nothing but one of `choices`; none at all leaves it free."""
    made = copy.deepcopy(schema)
    for part in made.get("definitions", {}).values():
        form = part.get("properties", {}).get(field)
        if form is not None and form.get("type") == "string":
            form.pop("enum", None)
            if choices:
                form["enum"] = choices
    return made


def _fit(state: State) -> list[str]:
    """Versions that can become champion and are not, the newest first."""
    fit = (entry for entry in state.versions.values() if not (entry.barred or entry.retired))
    return [entry.version for entry in fit if entry.version != state.champion][::-1]


def _refresh(client: SyncPrefectClient, flow: str, *, field: str, choices: list[str], line: str) -> int:
    deployments = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))
    mine = [each for each in deployments if _line_of(each) in {None, line}]
    for each in mine:
        schema = with_choices(each.parameter_openapi_schema or {}, field=field, choices=choices)
        client.update_deployment(each.id, DeploymentUpdate(parameter_openapi_schema=schema))
    return len(mine)


def _line_of(deployment: DeploymentResponse) -> str | None:
    """The line that a deployment's worker is told to work on; None is whatever its own settings say."""
    name: str | None = (deployment.job_variables or {}).get("env", {}).get(LINE)
    return name
