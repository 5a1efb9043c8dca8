"""Refresh the forms of the line's deployments after its versions changed (`orchestration.form_choices`).

A line without such deployments has nothing to refresh. Where Prefect does not answer, nothing is lost: the flows
validate their parameters again when they run.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.exceptions import PrefectException

from everlearn.errors import EverlearnError
from everlearn.orchestration.form_choices import FORMS, with_choices
from everlearn.registry.connect import open_registry
from tasks.night import step_task

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from everlearn.settings import Settings

LOG = logging.getLogger("everlearn.forms")
LINE_VARIABLE = "EVERLEARN_STORE__LINE"


@step_task
def refresh_forms(settings: Settings) -> int:
    """Return how many forms were refreshed. A failure is logged only: what was published stays published."""
    try:
        state = open_registry(settings).state()
        with get_client(sync_client=True) as client:
            return sum(
                _refresh(client, flow, field=field, choices=choices(state), line=settings.store.line)
                for flow, (field, choices) in FORMS.items()
            )
    except (EverlearnError, httpx.HTTPError, PrefectException, RuntimeError) as error:
        LOG.warning("the forms of the deployments could not be refreshed: %s", error)
        return 0


def _refresh(client: SyncPrefectClient, flow: str, *, field: str, choices: list[str], line: str) -> int:
    deployments = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))
    own = [deployment for deployment in deployments if _line_of(deployment) in {None, line}]
    for deployment in own:
        schema = with_choices(deployment.parameter_openapi_schema or {}, field=field, choices=choices)
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
    return len(own)


def _line_of(deployment: DeploymentResponse) -> str | None:
    """Return the line that the deployment sets for its worker; None where the worker's own settings decide."""
    name: str | None = (deployment.job_variables or {}).get("env", {}).get(LINE_VARIABLE)
    return name
