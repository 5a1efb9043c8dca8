"""Version of a Prefect server, and whether it fits the installed client: the server may be newer, but never older.

    is_compatible(server="3.8.8", client="3.8.8")    # True

Does not import Prefect, so that `everlearn doctor` answers quickly.
"""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from everlearn.errors import ServiceError
from everlearn.local.postgres_url import redact
from everlearn.orchestration.events_client import connection_to

TIMEOUT_S = 5.0


def read_version(api_url: str) -> str:
    """Return the version of the server at `api_url`. ServiceError if there is no answer within 5 s."""
    shown = redact(api_url)
    try:
        parts = urlsplit(api_url)
        with connection_to(parts, timeout_s=TIMEOUT_S) as connection:
            connection.request("GET", f"{parts.path}/admin/version")
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ServiceError(f"{shown} is not a Prefect server (HTTP {response.status} {response.reason})")
            return str(json.loads(response.read()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceError(f"{shown} does not answer ({error}); run `everlearn down` and `everlearn up`") from None


def is_compatible(*, server: str, client: str) -> bool:
    """Return whether both have the same major version and the server is not older; pre-releases count as releases."""
    try:
        theirs, ours = Version(server), Version(client)
    except InvalidVersion:
        return False
    is_older = (theirs.minor, theirs.micro) < (ours.minor, ours.micro)
    return theirs.major == ours.major and not is_older


def incompatibility(*, url: str, server: str, client: str) -> str:
    """Return the error message for an incompatible server, with the remedy."""
    return (
        f"the Prefect server at {redact(url)} is version {server}, and here is {client}: a server must not be older than its "
        f"clients, nor of another major version. Upgrade the server to {client} (a local one: `everlearn down`, then "
        f"`everlearn up`), or point PREFECT_API_URL to another"
    )
