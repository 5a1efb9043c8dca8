"""Whether a Prefect server and the Prefect that talks to it fit: the server may be newer, but never older.

fits(server="3.8.8", client="3.8.8")    # True
"""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

from everlearn.errors import ServiceError

TIMEOUT_S = 5.0


def ask(api_url: str) -> str:
    """The version of the server at `api_url`. ServiceError if it tells none."""
    parts = urlsplit(api_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path}/admin/version")
        told = connection.getresponse()
        if told.status != http.client.OK:
            raise ServiceError(f"{api_url} does not answer as a Prefect server does ({told.status} {told.reason})")
        return str(json.loads(told.read()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceError(f"{api_url} does not answer ({error}); run `everlearn down` and `everlearn up`") from None
    finally:
        connection.close()


def fits(*, server: str, client: str) -> bool:
    """Whether they have the same major version and the server is not older."""
    theirs, ours = _numbers(server), _numbers(client)
    return theirs[:1] == ours[:1] and theirs >= ours


def remedy(*, url: str, server: str, client: str) -> str:
    """What does not fit, and what to do about it."""
    return (
        f"the Prefect server at {url} is version {server}, and here is {client}: a server must not be older than its "
        f"clients, nor of another major version. Upgrade the server to {client} (a local one: `everlearn down`, then "
        f"`everlearn up`), or point PREFECT_API_URL to another"
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Of `3.8.8.dev2+local`: (3, 8, 8)."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])
