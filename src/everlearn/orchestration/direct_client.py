"""Requests to the Prefect server without importing Prefect, which takes longer than all requests of a command.

    with connect() as client:
        send(client, "GET", "/deployments/name/run-cycle/nightly-math")

Used by the commands that read and set schedules. Where a connection needs more than a URL and a password (a profile,
certificates, CSRF tokens), `connect` yields Prefect's own client; `send` works with both.
"""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx

from everlearn.errors import ServiceError
from everlearn.local.postgres_url import redact
from everlearn.orchestration.events_client import credentials
from everlearn.orchestration.server_version import incompatibility, is_compatible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefect.client.orchestration import SyncPrefectClient

    ApiClient = httpx.Client | SyncPrefectClient

TIMEOUT_S = 30.0
KNOWN = {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"}
"""The connection settings that need no Prefect."""
PREFIXES = ("PREFECT_API_", "PREFECT_CLIENT_", "PREFECT_CLOUD_")


@contextlib.contextmanager
def connect() -> Iterator[ApiClient]:
    """Yield a client of the server at PREFECT_API_URL.

    Raises:
        ServiceError: PREFECT_API_URL is not set, or the server does not answer, refuses, or is incompatible.
    """
    url, others = os.environ.get("PREFECT_API_URL"), {name for name in os.environ if name.startswith(PREFIXES)} - KNOWN
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_direct_client(url)) if url and not others else None
        if client is None or _requires_tokens(client, url=str(url)):
            from everlearn.orchestration import api_client

            yield stack.enter_context(api_client.connect())
            return
        try:
            check_version(client, url=str(url))
            yield client
        except httpx.HTTPStatusError as error:
            raise refused(str(url), error) from error
        except httpx.HTTPError as error:
            raise unreachable(str(url), error) from error


def send(client: ApiClient, method: str, path: str, body: Any = None) -> Any:
    """Send a request and return the JSON of the answer. httpx.HTTPStatusError if the server refuses it."""
    request: Callable[..., httpx.Response] = client.request
    response = request(method, path, json=body)
    return response.json() if response.content else None


def check_version(client: ApiClient, *, url: str) -> None:
    """Raise ServiceError if the server is older than the installed Prefect, or of another major version."""
    theirs, ours = str(send(client, "GET", "/admin/version")), version("prefect")
    if not is_compatible(server=theirs, client=ours):
        raise ServiceError(incompatibility(url=url, server=theirs, client=ours))


def unreachable(url: str, error: Exception) -> ServiceError:
    """Return the error for a server that does not answer."""
    return ServiceError(f"the Prefect server at {redact(url)} does not answer ({error}); run `everlearn up`")


def refused(url: str, error: Exception) -> ServiceError:
    """Return the error for a server that refuses a request, without a password in its address."""
    return ServiceError(f"the Prefect server at {redact(url)} refuses the request: {redact(str(error))}")


def _direct_client(url: str) -> httpx.Client:
    hooks = {"response": [httpx.Response.raise_for_status]}
    try:
        return httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=credentials(), event_hooks=hooks)
    except httpx.InvalidURL as error:
        raise unreachable(url, error) from None


def _requires_tokens(client: httpx.Client, *, url: str) -> bool:
    """Return whether the server requires CSRF tokens: one without them refuses to issue one."""
    try:
        send(client, "GET", "/csrf-token?client=everlearn")
    except httpx.HTTPStatusError:
        return False
    except httpx.HTTPError as error:
        raise unreachable(url, error) from error
    return True
