"""The `Store` protocol on S3, by botocore, the client inside boto3: its own import costs every command 60 ms more.

Conditional writes go through a client without retries: a second attempt after an unnoticed success would look like a
lost race. Where the answer is lost, or says that the race is, the object itself is asked whose it is (answers.py).
Reads and unconditional writes are retried by botocore. Every write carries its SHA-256, which the server checks and keeps.
Errors of botocore leave this module only in translation, each with a remedy.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import uuid
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - nothing was sent; of Python's own there is OSError
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage import conformance
from everlearn.storage.multipart import checksum, cut
from everlearn.storage.protocol import CANARY_PREFIX, Blob, ObjectInfo
from everlearn.storage.s3_errors import TOKEN, date_of, is_about_clock, own_etag, status_of, whole
from everlearn.storage.uploads import TRY_AGAIN, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from everlearn.storage.protocol import Store

CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "InvalidToken", "403"}
LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
NO_KEY = {"NoSuchKey", "NotFound", "404"}
PAST_THE_END = {"InvalidRange", "416"}
UPLOADS = 5
CHUNK = 1024**2


class S3Store:
    """One bucket. Credentials come from botocore's own chain unless `keys` (access key, secret) are given."""

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

        session = Session()
        if keys:
            session.set_credentials(*keys)

        def client(attempts: int, **s3: Any) -> Any:
            config = Config(
                connect_timeout=min(5.0, timeout_s),
                read_timeout=timeout_s,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                signature_version="s3v4",
                s3=s3 | ({"addressing_style": "path"} if endpoint_url else {}),
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            return session.create_client("s3", region_name=region, endpoint_url=endpoint_url, config=config)

        self._create_client = client
        with self._translated(""):
            self._no_retry_client, self._client = client(1), client(4)

    @functools.cached_property
    def _bulk(self) -> Any:
        """For parts: their signed SHA-256 header speaks for the bytes, which need no second one in the signature."""
        return self._create_client(4, payload_signing_enabled=False)

    def get(self, key: str) -> Blob:
        """The whole object. NotFoundError if there is none."""
        with self._translated(key):
            answer = whole(self._client.get_object(**self._at(key)), "ETag", "ContentLength")
            return Blob(data=answer["Body"].read(), etag=answer["ETag"])

    def read(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """The object's bytes from `start` on, in chunks. NotFoundError if there is none; StoreDownError if cut short."""
        part = {"Range": f"bytes={start}-"} if start else {}
        with self._translated(key):
            try:
                body = whole(self._client.get_object(**self._at(key), **part), "ETag", "ContentLength")["Body"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in PAST_THE_END:
                    return
                raise
            with contextlib.closing(body):
                yield from body.iter_chunks(CHUNK)

    def head(self, key: str) -> ObjectInfo:
        """Size and checksum as the server holds them. NotFoundError if there is none."""
        with self._translated(key):
            answer = self._client.head_object(**self._at(key), ChecksumMode="ENABLED")
            answer = whole(answer, "ContentLength", "ETag", "LastModified")
        held = answer.get("ChecksumSHA256")
        in_one = held if held is not None and "-" not in held else None  # one of parts says nothing of the whole
        return ObjectInfo(
            key=key,
            size=answer["ContentLength"],
            etag=answer["ETag"],
            sha256=base64.b64decode(in_one).hex() if in_one else None,
            modified=answer["LastModified"],
            composite=None if in_one else held,
        )

    def create(self, key: str, data: bytes) -> str:
        """Write where nothing is; the new etag. ConflictError if something is there."""
        for _ in range(UPLOADS):
            try:
                return self._write_if(key, data, IfNoneMatch="*")
            except ConflictError as error:
                if not isinstance(error.__cause__, ClientError) or status_of(error.__cause__) != TRY_AGAIN:
                    raise
        raise StoreDownError(f"{key}: {UPLOADS} writes in a row met another one; run the same command again")

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Write over exactly the bytes that have `etag`; the new one. ConflictError if they are others, or gone."""
        try:
            return self._write_if(key, data, IfMatch=etag)
        except NotFoundError:
            raise ConflictError(f"{key} is gone") from None

    def put(self, key: str, data: bytes) -> str:
        """Write unconditionally."""
        return self._write(self._client, key, data)

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] = lambda _: None) -> str | None:
        """Write a file where nothing is, in parts if it is large; the composite checksum if it was.

        ConflictError if something is there. After anything else that goes wrong, no part is left behind.
        """
        parts = cut(path.stat().st_size)
        if not parts:
            data = path.read_bytes()
            self.create(key, data)
            progress(len(data))
            return None
        with path.open("rb") as file, self._translated(key):
            for _ in range(UPLOADS):
                upload = Upload(self._bulk, self._no_retry_client, self._at(key), file, progress=progress)
                done = upload.run(parts)
                if done is not None:
                    return done
        raise StoreDownError(f"{key}: {UPLOADS} uploads in a row met another one; run the same command again")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Everything whose key begins with `prefix`, in the order of the keys; `sha256` is not listed by S3."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._translated(prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for each in whole(page, "IsTruncated").get("Contents", ()):
                    yield ObjectInfo(
                        key=each["Key"],
                        size=each["Size"],
                        etag=each["ETag"],
                        sha256=None,
                        modified=each["LastModified"],
                    )

    def versions(self, key: str) -> Iterator[Blob]:
        """Older contents of a key, newest first; none where the bucket does not keep them."""
        pages = self._client.get_paginator("list_object_versions")
        with self._translated(key):
            for page in pages.paginate(Bucket=self.bucket, Prefix=key):
                for each in whole(page, "IsTruncated").get("Versions", ()):
                    if each["Key"] == key and not each["IsLatest"]:
                        answer = self._client.get_object(**self._at(key), VersionId=each["VersionId"])
                        answer = whole(answer, "ETag", "ContentLength")
                        yield Blob(data=answer["Body"].read(), etag=answer["ETag"])

    def delete(self, key: str) -> None:
        """Remove; no error if there is nothing."""
        with self._translated(key):
            self._client.delete_object(**self._at(key))

    def touch(self, key: str) -> None:
        """Make `modified` now, by copying the object onto itself. NotFoundError if there is nothing."""
        with self._translated(key):
            done = self._client.copy_object(**self._at(key), CopySource=self._at(key), MetadataDirective="REPLACE")
            whole(done.get("CopyObjectResult", {}), "ETag")

    def now(self) -> datetime:
        """The server's clock, to the second: the date of its answer."""
        with self._translated(""):
            answer = self._client.list_objects_v2(Bucket=self.bucket, Prefix=CANARY_PREFIX, MaxKeys=1)
        told = date_of(answer)
        if told is None:
            raise StoreDownError(f"{self._place} answers without its date: it was cut short, or is no S3 server")
        return told

    def abort_uploads(self, prefix: str, *, before: datetime) -> int:
        """Give up uploads in parts that were begun before then and never completed; how many."""
        pages = self._client.get_paginator("list_multipart_uploads")
        aborted = 0
        with self._translated(prefix):
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for each in whole(page, "IsTruncated").get("Uploads", ()):
                    if each["Initiated"] < before:
                        self._client.abort_multipart_upload(**self._at(each["Key"]), UploadId=each["UploadId"])
                        aborted += 1
        return aborted

    def presigned_url(self, key: str, *, content_type: str, seconds: int = 7 * 24 * 3600) -> str:
        """An address under which a browser reads the object for `seconds`, without credentials."""
        asked = self._at(key) | {"ResponseContentType": content_type}
        address: str = self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return address

    def probe(self) -> dict[str, str | None]:
        """Every promise, with what is wrong where this server does not keep it."""
        return conformance.examine(self, more={conformance.PARTS: self._try_parts})

    def require_conformance(self) -> None:
        """Prove by a canary that this server keeps conditional writes. StoreError if it does not."""
        conformance.demand(self.probe(), place=self._place)

    def _try_parts(self, store: Store, key: str) -> None:
        """An upload of one small part must not be completed over an object."""
        store.create(key, b"first")

        def complete() -> None:
            told = checksum(b"other")
            with self._translated(key):
                made = self._no_retry_client.create_multipart_upload(**self._at(key), ChecksumAlgorithm="SHA256")
                upload = self._at(key) | {"UploadId": whole(made, "UploadId")["UploadId"]}
                try:
                    sent = self._no_retry_client.upload_part(**upload, PartNumber=1, Body=b"other", ChecksumSHA256=told)
                    whole(sent, "ETag")
                    part = {"PartNumber": 1, "ETag": sent["ETag"], "ChecksumSHA256": told}
                    self._no_retry_client.complete_multipart_upload(
                        **upload, MultipartUpload={"Parts": [part]}, IfNoneMatch="*"
                    )
                finally:
                    with contextlib.suppress(ClientError):
                        self._no_retry_client.abort_multipart_upload(**upload)

        conformance.refused(complete, "completes an upload over an object in spite of If-None-Match")

    @property
    def _place(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint_url or 'AWS'}"

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}

    def _write(self, client: Any, key: str, data: bytes, **more: Any) -> str:
        with self._translated(key):
            answer = client.put_object(**self._at(key), Body=data, ChecksumSHA256=checksum(data), **more)
            return str(whole(answer, "ETag")["ETag"])

    def _write_if(self, key: str, data: bytes, **condition: str) -> str:
        """A conditional write. Whatever the answer: if it was done, that is success, and never a lost race."""
        token = uuid.uuid4().hex
        try:
            return self._write(self._no_retry_client, key, data, Metadata={TOKEN: token}, **condition)
        except ConflictError:
            etag = own_etag(self._client, self._at(key), token=token)
            if etag is None:
                raise
            return etag
        except StoreDownError as error:
            etag = None
            if not isinstance(error.__cause__, ConnectionError):
                with contextlib.suppress(StoreDownError):
                    etag = own_etag(self._no_retry_client, self._at(key), token=token)
            if etag is None:
                raise
            return etag

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._said(error, key) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise StoreDownError(f"{self._place}: no credentials; {CREDENTIALS}") from error
        except ParamValidationError as error:
            raise StoreError(f"{self._place}: {error}; correct store.bucket") from error
        except ValueError as error:  # boto3's word for an endpoint that is no URL
            raise StoreDownError(f"{self._place}: {error}; correct store.endpoint_url") from error
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise StoreDownError(
                f"{self._place} does not answer ({error}); start it with `everlearn up`, or correct store.endpoint_url"
            ) from error

    def _said(self, error: ClientError, key: str) -> StoreError:
        """What the server's error means here."""
        code, status = str(error.response.get("Error", {}).get("Code") or ""), status_of(error)
        if code == "NoSuchBucket":
            return StoreDownError(f"{self._place} does not exist; create it, or correct store.bucket")
        if code in LOST_RACE:
            return ConflictError(f"{key}: somebody else was first")
        if code in NO_KEY:
            return NotFoundError(f"{key} does not exist in {self._place}")
        if is_about_clock(error):
            return StoreDownError(
                f"{self._place} has another time than this machine; set the clock of the one that is off"
            )
        refused = f"refuses these credentials ({code}); {CREDENTIALS}" if code in WRONG_KEY or status == 403 else ""
        if refused or status >= 500:
            away = f"answers {code or status}; look at its log and its disk, then try again"
            return StoreDownError(f"{self._place} {refused or away}")
        return StoreError(f"{self._place} refuses {key or 'this'}: {error}")
