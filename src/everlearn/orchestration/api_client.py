"""Connect to the Prefect server by its own client, for the commands `deploy`, `worker`, `metrics` and `approve`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from everlearn.errors import ServiceError
from everlearn.orchestration.direct_client import refused, unreachable
from everlearn.orchestration.server_version import incompatibility, is_compatible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient


@contextlib.contextmanager
def connect() -> Iterator[SyncPrefectClient]:
    """Yield a client of the server at PREFECT_API_URL.

    Raises:
        ServiceError: PREFECT_API_URL is not set, or the server does not answer, refuses, or is incompatible.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise ServiceError("no Prefect server runs here: run `everlearn up`, or set PREFECT_API_URL")
    try:
        with get_client(sync_client=True) as client:
            theirs, ours = str(client.api_version()), client.client_version()
            if not is_compatible(server=theirs, client=ours):
                raise ServiceError(incompatibility(url=url, server=theirs, client=ours))
            yield client
    except PrefectHTTPStatusError as error:
        raise refused(url, error) from error
    except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
        raise unreachable(url, error) from error
