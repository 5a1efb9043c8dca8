"""Tell a Prefect server that something has happened, without Prefect's code: a command must not wait a second for that.

    ring(CHANGED, line="math", payload={"what": "rolled back v0008 to v0007", "actor": "ada", "champion": "v0007"})

Where PREFECT_API_URL names no server, or one that does not answer within two seconds, nothing is told and nothing fails.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

LOG = logging.getLogger("everlearn.bell")
ENDED, AWAITED = "everlearn.night.ended", "everlearn.night.awaited"
CHANGED, ARRIVED = "everlearn.champion.changed", "everlearn.data.arrived"
PATIENCE_S = 2.0


def resource_of(line: str) -> dict[str, str]:
    """What the events of a line are about."""
    return {"prefect.resource.id": f"everlearn.line.{line}", "prefect.resource.name": line}


def message(event: str, *, line: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What a server is told: that this has happened to the line just now."""
    now = datetime.now(tz=UTC).isoformat()
    return {"id": str(uuid.uuid4()), "occurred": now, "event": event, "resource": resource_of(line), "payload": payload}


def ring(event: str, *, line: str, payload: dict[str, Any]) -> bool:
    """Whether the server has taken the event."""
    url = urlsplit(os.environ.get("PREFECT_API_URL", ""))
    if url.scheme not in {"http", "https"}:
        return False
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    told = [message(event, line=line, payload=payload)]
    connection = kind(url.netloc, timeout=PATIENCE_S)
    try:
        headers = {"Content-Type": "application/json"} | _credentials()
        connection.request("POST", f"{url.path}/events", body=json.dumps(told), headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        LOG.info("%s does not answer (%s): nobody is told", url.netloc, error)
        return False
    finally:
        connection.close()
    if status >= http.client.MULTIPLE_CHOICES:
        LOG.warning("%s refuses the event (HTTP %d): nobody is told", url.hostname, status)
        return False
    return True


def _credentials() -> dict[str, str]:
    """What a server of one's own asks for (name:password), or else Prefect Cloud (a key)."""
    word = os.environ.get("PREFECT_API_AUTH_STRING")
    if word:
        return {"Authorization": f"Basic {base64.b64encode(word.encode()).decode()}"}
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
