"""Emit events to a Prefect server over plain HTTP: importing Prefect would delay a command by a second.

    emit(CHANGED, line="math", payload={"what": "rolled back v0008 to v0007", "actor": "ada", "champion": "v0007"})

Without PREFECT_API_URL, or without an answer within two seconds, no event is emitted and no error is raised.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import logging
import os
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

ENDED, AWAITED = "everlearn.night.ended", "everlearn.night.awaited"
CHANGED, ARRIVED = "everlearn.champion.changed", "everlearn.data.arrived"
TIMEOUT_S = 2.0
logger = logging.getLogger("everlearn.events")


def line_resource(line: str) -> dict[str, str]:
    """Return the resource to which all events of a line belong."""
    return {"prefect.resource.id": f"everlearn.line.{line}", "prefect.resource.name": line}


def event_body(event: str, *, line: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the event as JSON for Prefect's API, with a new id and the present time."""
    now = datetime.now(tz=UTC).isoformat()
    resource = line_resource(line)
    return {"id": str(uuid.uuid4()), "occurred": now, "event": event, "resource": resource, "payload": payload}


def emit(event: str, *, line: str, payload: dict[str, Any]) -> bool:
    """Send an event to the server at PREFECT_API_URL; return whether the server accepted it."""
    return post("/events", [event_body(event, line=line, payload=payload)], what="event")


def is_configured() -> bool:
    """Return whether PREFECT_API_URL names a server."""
    try:
        return urlsplit(os.environ.get("PREFECT_API_URL", "")).scheme in {"http", "https"}
    except ValueError:  # such as http://[::1
        return False


def connection_to(url: SplitResult, *, timeout_s: float) -> contextlib.closing[http.client.HTTPConnection]:
    """Return a connection to the server of an address, which may name a user. http.client.InvalidURL if its port is no number."""
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return contextlib.closing(connect(url.netloc.rpartition("@")[2], timeout=timeout_s))


def post(path: str, content: Any, *, what: str) -> bool:
    """Send JSON to the server at PREFECT_API_URL; return whether it was accepted. `what` is named in the log."""
    if not is_configured():
        return False
    url = urlsplit(os.environ["PREFECT_API_URL"])
    place = url.netloc.rpartition("@")[2]
    try:
        with connection_to(url, timeout_s=TIMEOUT_S) as connection:
            headers = {"Content-Type": "application/json"} | credentials()
            connection.request("POST", url.path + path, body=json.dumps(content), headers=headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:  # also a port that is no number
        logger.info("Prefect at %s does not answer (%s): %s not sent", place, error, what)
        return False
    if status >= http.client.MULTIPLE_CHOICES:
        logger.warning("Prefect at %s refuses the %s (HTTP %d)", url.hostname, what, status)
        return False
    return True


def credentials() -> dict[str, str]:
    """Return the Authorization header: basic for a self-hosted server with a password, bearer for Prefect Cloud."""
    password = os.environ.get("PREFECT_API_AUTH_STRING")
    if password:
        return {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
