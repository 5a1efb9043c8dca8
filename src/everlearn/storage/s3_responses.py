"""Checks of S3 responses: completeness, and whether an object was written by this process.

A response that ends within its headers looks like a shorter one to Python's HTTP client: a GET like an empty object, a
listing like an empty bucket. So every response must have the fields that S3 always sends.

A conditional write whose response is lost, or that a gateway has sent twice, looks like a lost race on the second
attempt. So every conditional write carries a random token in its metadata, by which its object is recognized.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from everlearn.errors import StoreDownError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

WRITE_TOKEN = "everlearn-write"  # noqa: S105 - a metadata name, not a secret


def require_fields(response: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the response. Raises StoreDownError if a field is missing or the ETag is truncated."""
    missing = [name for name in names if name not in response]
    etag = str(response.get("ETag", ""))
    if missing or etag == '"' or (etag.startswith('"') and not etag.endswith('"')):
        if "Body" in response:
            response["Body"].close()
        fields = ", ".join(missing) or "a complete ETag"
        raise StoreDownError(f"response without {fields}: it was cut short, or is not from an S3 server; try again")
    return response


def etag_if_written_with(token: str, client: Any, address: Mapping[str, str]) -> str | None:
    """Return the etag of the object if the write with that token made it; None if another did, or there is none.

    Raises StoreDownError if the object cannot be read: the outcome of the write stays unknown.
    """
    try:
        response = require_fields(client.head_object(**address), "ETag")
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and http_status(error) == 404:
            return None
        raise StoreDownError(f"{address['Key']}: unknown whether it was written ({error}); try again") from error
    return str(response["ETag"]) if response.get("Metadata", {}).get(WRITE_TOKEN) == token else None


def server_date(response: Mapping[str, Any]) -> datetime | None:
    """Return the date of the response; None if it has none."""
    try:
        return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return None


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an error; 0 if there was no response."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
