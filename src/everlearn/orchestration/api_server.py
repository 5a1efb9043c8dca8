"""The Prefect server that schedules nights, as the commands `deploy` and `schedule` reach it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from everlearn.errors import ServiceError
from everlearn.orchestration.compatibility import fits, remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient


@contextlib.contextmanager
def client() -> Iterator[SyncPrefectClient]:
    """A client of the server that PREFECT_API_URL names. ServiceError if none is named, it does not answer, or is older."""
    url = PREFECT_API_URL.value()
    if not url:
        raise ServiceError("no Prefect server runs here: run `everlearn up`, or set PREFECT_API_URL")
    try:
        with get_client(sync_client=True) as found:
            theirs, ours = str(found.api_version()), found.client_version()
            if not fits(server=theirs, client=ours):
                raise ServiceError(remedy(url=url, server=theirs, client=ours))
            yield found
    except PrefectHTTPStatusError as error:
        raise ServiceError(f"the Prefect server at {url} refuses: {error}") from error
    except (httpx.HTTPError, RuntimeError) as error:
        raise ServiceError(f"the Prefect server at {url} does not answer ({error}); run `everlearn up`") from error
