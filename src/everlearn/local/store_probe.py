"""Probe an S3 server for readiness: write one small object and read it back, with the standard library alone.

A server that lists buckets may still be unable to store a byte. This is polled every 50 ms while a server starts, and
by the container's health check, so it neither imports boto3 nor retries. Everything else uses `storage.s3`.
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


def is_ready(endpoint_url: str, *, bucket: str, access_key: str, secret_key: str) -> bool:
    """Return whether a signed write and read succeed and an unsigned read is refused."""
    path, keys = f"/{bucket}/.canary", (access_key, secret_key)
    try:
        write_status, _ = request(endpoint_url, method="PUT", path=path, body=CONTENT, keys=keys)
        read = request(endpoint_url, method="GET", path=path, keys=keys)
        unsigned_status, _ = request(endpoint_url, method="GET", path=path)
    except (OSError, http.client.HTTPException):
        return False
    return write_status == 200 and read == (200, CONTENT) and unsigned_status == 403


def request(
    endpoint_url: str, *, method: str, path: str, body: bytes = b"", keys: tuple[str, str] | None = None
) -> tuple[int, bytes]:
    """Send one request, signed if `keys` are given; return status and body.

    Raises:
        OSError, http.client.HTTPException: There is no answer within 5 s.
    """
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
    """Return the headers of AWS Signature Version 4 for a request without a query."""
    access_key, secret_key = keys
    timestamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": timestamp}
    names = ";".join(headers)  # the specification wants them sorted, and they are
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical_request = f"{method}\n{path}\n\n{lines}\n{names}\n{digest}"
    scope = [timestamp[:8], REGION, "s3", "aws4_request"]
    request_digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{timestamp}\n{'/'.join(scope)}\n{request_digest}"
    # The signing key is derived from the secret by one HMAC for each part of the scope.
    signing_key = reduce(hmac_sha256, scope, f"AWS4{secret_key}".encode())
    credential = f"AWS4-HMAC-SHA256 Credential={access_key}/{'/'.join(scope)}"
    signature = hmac_sha256(signing_key, to_sign).hex()
    return headers | {"authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}


def hmac_sha256(key: bytes, message: str) -> bytes:
    """Return the HMAC-SHA256 of `message` under `key`."""
    return hmac.new(key, message.encode(), hashlib.sha256).digest()
