"""One multipart upload: parts in parallel, each with a SHA-256 that the server checks, and a conditional completion.

boto3's `upload_file` does not send If-None-Match with `CompleteMultipartUpload`, hence this module. The object becomes
visible with that request; of two uploads to the same key one succeeds. If its response is lost, the metadata of the
object shows which upload made it. After any error the parts are aborted; parts left by a killed process are found by
`abort_uploads`.
"""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from everlearn.errors import StoreDownError
from everlearn.storage.multipart import checksum, join_checksums, read_part
from everlearn.storage.s3_responses import WRITE_TOKEN, etag_if_written_with, http_status, require_fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

MAX_THREADS = 4
CONCURRENT_WRITE = 409
"""HTTP status of a conditional write that met another write to the same key: the upload must start again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartUpload:
    """An upload of `file` to the bucket and key in `address`.

    `client` retries requests; `no_retry_client` does not, for the conditional one.
    """

    client: Any
    no_retry_client: Any
    address: dict[str, str]
    file: BinaryIO
    progress: Callable[[int], None]

    def run(self, parts: list[tuple[int, int]]) -> str | None:
        """Upload the parts and return the composite checksum; None if the server requires a new upload.

        Raises botocore's errors after aborting the parts: 412 among them if the key is taken.
        """
        token = uuid.uuid4().hex
        created = self.client.create_multipart_upload(
            **self.address, ChecksumAlgorithm="SHA256", Metadata={WRITE_TOKEN: token}
        )
        upload = self.address | {"UploadId": require_fields(created, "UploadId")["UploadId"]}
        sent_parts: list[dict[str, Any]] = []
        try:
            self._send_all(upload, parts, sent_parts)
            self._complete(upload, sent_parts, token=token)
        except BaseException as error:
            with contextlib.suppress(ClientError, BotoCoreError):
                self.client.abort_multipart_upload(**upload)
            self.progress(-sum(length for _, length in parts[: len(sent_parts)]))
            if isinstance(error, ClientError) and http_status(error) == CONCURRENT_WRITE:
                return None
            raise
        return join_checksums([part["ChecksumSHA256"] for part in sent_parts])

    def _send_all(self, upload: dict[str, str], parts: list[tuple[int, int]], sent_parts: list[dict[str, Any]]) -> None:
        """Send the parts in parallel; append each to `sent_parts` in order and report its size."""
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            tasks = [pool.submit(self._send, upload, number, *part) for number, part in enumerate(parts, start=1)]
            try:
                for task, (_, length) in zip(tasks, parts, strict=True):
                    sent_parts.append(task.result())
                    self.progress(length)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _send(self, upload: dict[str, str], number: int, offset: int, length: int) -> dict[str, Any]:
        data = read_part(self.file.fileno(), offset, length)
        sha256 = checksum(data)
        response = self.client.upload_part(**upload, PartNumber=number, Body=data, ChecksumSHA256=sha256)
        return {"PartNumber": number, "ETag": require_fields(response, "ETag")["ETag"], "ChecksumSHA256": sha256}

    def _complete(self, upload: dict[str, str], sent_parts: list[dict[str, Any]], *, token: str) -> None:
        try:
            response = self.no_retry_client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": sent_parts}, IfNoneMatch="*"
            )
            require_fields(response, "ETag")
        except (BotoCoreError, ClientError, ResponseParserError, StoreDownError):
            # The request may have been carried out all the same: the object shows it by its token.
            if etag_if_written_with(token, self.client, self.address) is None:
                raise
