"""Is that S3 server ready? Write one small object and read it back, with the standard library alone.

A server that lists buckets may still be unable to store a byte. This speaks AWS Signature Version 4 in the few lines
that one PUT and one GET need; everything else that talks to S3 is in `stores/s3.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from datetime import UTC, datetime
from functools import reduce
from urllib.parse import urlsplit

REGION = "us-east-1"
CONTENT = b"canary"
TIMEOUT_S = 5.0


def sings(endpoint_url: str, *, bucket: str, access_key: str, secret_key: str) -> bool:
    """Whether a signed write and read succeed and an unsigned read is refused."""
    path = f"/{bucket}/.canary"
    signed = (access_key, secret_key)
    try:
        written = ask(endpoint_url, method="PUT", path=path, body=CONTENT, keys=signed)[0]
        read = ask(endpoint_url, method="GET", path=path, keys=signed)
        stranger = ask(endpoint_url, method="GET", path=path)[0]
    except (OSError, http.client.HTTPException):
        return False
    return written == 200 and read == (200, CONTENT) and stranger == 403


def ask(
    endpoint_url: str,
    *,
    method: str,
    path: str,
    body: bytes = b"",
    keys: tuple[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request; its status and body. Raises OSError or HTTPException when there is no answer."""
    host = urlsplit(endpoint_url).netloc
    headers = {} if keys is None else sign(method=method, host=host, path=path, body=body, keys=keys)
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def sign(*, method: str, host: str, path: str, body: bytes, keys: tuple[str, str]) -> dict[str, str]:
    """Headers of AWS Signature Version 4 for a request without a query."""
    access_key, secret_key = keys
    moment = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
    scope = [moment[:8], REGION, "s3", "aws4_request"]
    message = f"AWS4-HMAC-SHA256\n{moment}\n{'/'.join(scope)}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = reduce(seal, scope, f"AWS4{secret_key}".encode())
    credential = f"AWS4-HMAC-SHA256 Credential={access_key}/{'/'.join(scope)}"
    return headers | {"authorization": f"{credential}, SignedHeaders={names}, Signature={seal(key, message).hex()}"}


def seal(key: bytes, message: str) -> bytes:
    """HMAC-SHA256 of `message` under `key`."""
    return hmac.new(key, message.encode(), hashlib.sha256).digest()
