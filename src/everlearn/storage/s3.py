"""The `Store` protocol on S3, by boto3.

Conditional writes use a client without retries: a second attempt after an unnoticed success would look like a lost
race. If the response is lost, or reports a lost race, the metadata of the object shows which write made it
(s3_responses.py). Reads and unconditional writes are retried by botocore. Every write carries its SHA-256, which the
server checks and holds. Errors of botocore are translated (s3_errors.py).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import uuid
from typing import TYPE_CHECKING, Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionError,  # noqa: A004 - no request was sent; Python's own is an OSError
)
from botocore.loaders import create_loader
from botocore.session import get_session

from everlearn.errors import ConflictError, NotFoundError, StoreDownError
from everlearn.storage import conformance
from everlearn.storage.multipart import checksum, plan_parts
from everlearn.storage.multipart_upload import CONCURRENT_WRITE, MultipartUpload
from everlearn.storage.protocol import PROBE_PREFIX, Blob, ObjectInfo
from everlearn.storage.s3_errors import translated_errors
from everlearn.storage.s3_responses import WRITE_TOKEN, etag_if_written_with, http_status, require_fields, server_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from everlearn.storage.protocol import Store

END_OF_OBJECT_CODES = {"InvalidRange", "416"}
MAX_WRITES = 5
CHUNK_BYTES = 1024**2
WEEK_S = 7 * 24 * 3600


_API_MODELS = create_loader()
"""Descriptions of the services: parsed once a process, where botocore would parse them again for each session (0.1 s)."""


def _session(keys: tuple[str, str] | None) -> Session:
    core = get_session()
    core.register_component("data_loader", _API_MODELS)
    session = Session(*(keys or ()), botocore_session=core)
    _API_MODELS.search_paths[:] = dict.fromkeys(_API_MODELS.search_paths)  # each session appends its own folder
    return session


class S3Store:
    """One bucket. Credentials come from boto3's own chain unless `keys` (access key ID, secret) are given."""

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        region: str = "us-east-1",
        keys: tuple[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.bucket = bucket
        self.endpoint_url = endpoint_url
        self._region = region
        self._timeout_s = timeout_s
        with self._translated(""):
            self._session = _session(keys)
            self._no_retry_client, self._client = self._create_client(1), self._create_client(4)

    def _create_client(self, attempts: int, **s3: Any) -> Any:
        config = Config(
            connect_timeout=min(5.0, self._timeout_s),
            read_timeout=self._timeout_s,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            signature_version="s3v4",
            s3=s3 | ({"addressing_style": "path"} if self.endpoint_url else {}),
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return self._session.client("s3", region_name=self._region, endpoint_url=self.endpoint_url, config=config)

    @functools.cached_property
    def _parts_client(self) -> Any:
        # The SHA-256 header of a part is signed, so the signature need not cover (and hash) the payload again.
        return self._create_client(4, payload_signing_enabled=False)

    def get(self, key: str) -> Blob:
        """Return the object. Raises NotFoundError if it does not exist."""
        return self._get(key)

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from offset `start` in chunks.

        Raises:
            NotFoundError: the object does not exist.
            StoreDownError: the response ended early.
        """
        span = {"Range": f"bytes={start}-"} if start else {}
        with self._translated(key):
            try:
                response = self._client.get_object(**self._address(key), **span)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in END_OF_OBJECT_CODES:
                    return
                raise
            with contextlib.closing(require_fields(response, "ETag", "ContentLength")["Body"]) as body:
                yield from body.iter_chunks(CHUNK_BYTES)

    def head(self, key: str) -> ObjectInfo:
        """Return the metadata held by the server. Raises NotFoundError if the object does not exist."""
        with self._translated(key):
            response = self._client.head_object(**self._address(key), ChecksumMode="ENABLED")
            response = require_fields(response, "ContentLength", "ETag", "LastModified")
        held = response.get("ChecksumSHA256")
        whole = held if held is not None and "-" not in held else None  # a composite one does not identify the bytes
        return ObjectInfo(
            key=key,
            size=response["ContentLength"],
            etag=response["ETag"],
            sha256=base64.b64decode(whole).hex() if whole else None,
            modified=response["LastModified"],
            composite=None if whole else held,
        )

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its etag. Raises ConflictError if the key is taken."""
        for _ in range(MAX_WRITES):
            try:
                return self._write_if(key, data, IfNoneMatch="*")
            except ConflictError as error:
                if not isinstance(error.__cause__, ClientError) or http_status(error.__cause__) != CONCURRENT_WRITE:
                    raise
        raise StoreDownError(f"{key}: {MAX_WRITES} writes in a row met another one; run the same command again")

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Overwrite the object that has `etag` and return the new etag. Raises ConflictError if it changed or is gone."""
        try:
            return self._write_if(key, data, IfMatch=etag)
        except NotFoundError:
            raise ConflictError(f"{key} is gone") from None

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally and return the etag."""
        return self._write(self._client, key, data)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file as a new object. Return the composite checksum if it was uploaded in parts, else None.

        Raises ConflictError if the key is taken. After any error no part is left behind.
        """
        parts = plan_parts(path.stat().st_size)
        if not parts:
            data = path.read_bytes()
            self.create(key, data)
            progress(len(data))
            return None
        with path.open("rb") as file, self._translated(key):
            upload = MultipartUpload(
                client=self._parts_client,
                no_retry_client=self._no_retry_client,
                address=self._address(key),
                file=file,
                progress=progress,
            )
            for _ in range(MAX_WRITES):
                composite = upload.run(parts)
                if composite is not None:
                    return composite
        raise StoreDownError(f"{key}: {MAX_WRITES} uploads in a row met another one; run the same command again")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix`, in the order of their keys; S3 does not list `sha256`."""
        for entry in self._entries("list_objects_v2", "Contents", prefix):
            yield ObjectInfo(
                key=entry["Key"],
                size=entry["Size"],
                etag=entry["ETag"],
                sha256=None,
                modified=entry["LastModified"],
            )

    def versions(self, key: str) -> Iterator[Blob]:
        """Yield noncurrent contents of a key, newest first; none if the bucket has no versioning."""
        for entry in self._entries("list_object_versions", "Versions", key):
            if entry["Key"] == key and not entry["IsLatest"]:
                yield self._get(key, VersionId=entry["VersionId"])

    def delete(self, key: str) -> None:
        """Delete the object, if it exists."""
        with self._translated(key):
            self._client.delete_object(**self._address(key))

    def touch(self, key: str) -> None:
        """Set `modified` to now by copying the object onto itself. Raises NotFoundError if it does not exist."""
        address = self._address(key)
        with self._translated(key):
            response = self._client.copy_object(**address, CopySource=address, MetadataDirective="REPLACE")
            require_fields(response.get("CopyObjectResult", {}), "ETag")

    def now(self) -> datetime:
        """Return the server's clock, to the second: the date of a response."""
        with self._translated(""):
            response = self._client.list_objects_v2(Bucket=self.bucket, Prefix=PROBE_PREFIX, MaxKeys=1)
        date = server_date(response)
        if date is None:
            raise StoreDownError(f"{self._location} answers without a date: it was cut short, or is not an S3 server")
        return date

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Abort incomplete multipart uploads that were initiated before then; return their number."""
        aborted = 0
        for entry in self._entries("list_multipart_uploads", "Uploads", prefix):
            if entry["Initiated"] < before:
                with self._translated(prefix):
                    self._client.abort_multipart_upload(**self._address(entry["Key"]), UploadId=entry["UploadId"])
                aborted += 1
        return aborted

    def presigned_url(self, key: str, *, content_type: str) -> str:
        """Return a URL that serves the object for a week without credentials, for a browser."""
        params = self._address(key) | {"ResponseContentType": content_type}
        return str(self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=WEEK_S))

    def probe(self) -> dict[str, str | None]:
        """Run every conformance check; return the fault, or None, by the name of the check."""
        return conformance.run_checks(self, extra_checks={conformance.PARTS: self._check_conditional_completion})

    def require_conformance(self) -> None:
        """Run the conformance checks. Raises StoreError if conditional writes are not reliable here."""
        conformance.require(self.probe(), location=self._location)

    def _check_conditional_completion(self, store: Store, key: str) -> None:
        store.create(key, b"first")
        client, sha256 = self._no_retry_client, checksum(b"other")

        def complete() -> None:
            with self._translated(key):
                created = client.create_multipart_upload(**self._address(key), ChecksumAlgorithm="SHA256")
                upload = self._address(key) | {"UploadId": require_fields(created, "UploadId")["UploadId"]}
                try:
                    response = client.upload_part(**upload, PartNumber=1, Body=b"other", ChecksumSHA256=sha256)
                    etag = require_fields(response, "ETag")["ETag"]
                    part = {"PartNumber": 1, "ETag": etag, "ChecksumSHA256": sha256}
                    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]}, IfNoneMatch="*")
                finally:
                    with contextlib.suppress(ClientError):
                        client.abort_multipart_upload(**upload)

        conformance.expect_refusal(complete, "completes an upload over an object in spite of If-None-Match")

    @property
    def _location(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint_url or 'AWS'}"

    def _translated(self, key: str) -> contextlib.AbstractContextManager[None]:
        return translated_errors(self._location, key)

    def _address(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}

    def _get(self, key: str, **version: str) -> Blob:
        with self._translated(key):
            response = self._client.get_object(**self._address(key), **version)
            response = require_fields(response, "ETag", "ContentLength")
            return Blob(data=response["Body"].read(), etag=response["ETag"])

    def _entries(self, operation: str, field: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a listing, page by page. A page cut short lacks IsTruncated."""
        with self._translated(prefix):
            for page in self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=prefix):
                yield from require_fields(page, "IsTruncated").get(field, ())

    def _write(self, client: Any, key: str, data: bytes, **options: Any) -> str:
        with self._translated(key):
            response = client.put_object(**self._address(key), Body=data, ChecksumSHA256=checksum(data), **options)
            return str(require_fields(response, "ETag")["ETag"])

    def _write_if(self, key: str, data: bytes, **condition: str) -> str:
        token = uuid.uuid4().hex
        try:
            return self._write(self._no_retry_client, key, data, Metadata={WRITE_TOKEN: token}, **condition)
        except ConflictError:
            # A gateway may have sent the request twice: then the object that is in the way is our own.
            etag = etag_if_written_with(token, self._client, self._address(key))
            if etag is None:
                raise
            return etag
        except StoreDownError as error:
            # The response is lost. After ConnectionError no request was sent; else read whose object it is, once.
            etag = None
            if not isinstance(error.__cause__, ConnectionError):
                with contextlib.suppress(StoreDownError):
                    etag = etag_if_written_with(token, self._no_retry_client, self._address(key))
            if etag is None:
                raise
            return etag
