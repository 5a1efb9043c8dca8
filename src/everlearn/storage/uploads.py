"""One upload in parts: side by side, each part's SHA-256 checked by the server, the condition on completion.

Nothing is visible before `CompleteMultipartUpload`, which carries If-None-Match: of two that upload the same object
one wins. Where the answer to it is lost, the object is asked whose it is. A 409 there means that another write to the key was under way: this upload is lost and has to begin anew. Any
error gives the parts up; what a killed process leaves is found by `abort_uploads`.
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
from everlearn.storage.s3_errors import TOKEN, own_etag, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

THREADS = 4
TRY_AGAIN = 409


@dataclass(frozen=True, slots=True)
class Upload:
    """`again` is a botocore client that repeats requests by itself, `once` one that does not; `at` is bucket and key."""

    again: Any
    once: Any
    at: dict[str, str]
    file: BinaryIO
    progress: Callable[[int], None]

    def run(self, parts: list[tuple[int, int]]) -> str | None:
        """Upload and complete; the composite checksum, or None where the server asks for a new upload.

        Raises what botocore raises, after giving the parts up; 412 among it where the key is taken.
        """
        token = uuid.uuid4().hex
        made = self.again.create_multipart_upload(**self.at, ChecksumAlgorithm="SHA256", Metadata={TOKEN: token})
        upload = self.at | {"UploadId": whole(made, "UploadId")["UploadId"]}
        sent = 0
        try:
            done = []
            with ThreadPoolExecutor(THREADS) as pool:
                tasks = [pool.submit(self._send, upload, number, *part) for number, part in enumerate(parts, start=1)]
                try:
                    for task, (_, length) in zip(tasks, parts, strict=True):
                        done.append(task.result())
                        sent += length
                        self.progress(length)
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            self._complete(upload, done, token=token)
        except BaseException as error:
            with contextlib.suppress(ClientError, BotoCoreError):
                self.again.abort_multipart_upload(**upload)
            self.progress(-sent)
            if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] == TRY_AGAIN:
                return None
            raise
        return join_checksums([part["ChecksumSHA256"] for part in done])

    def _complete(self, upload: dict[str, str], parts: list[dict[str, Any]], *, token: str) -> None:
        try:
            done = self.once.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
            whole(done, "ETag")
        except (BotoCoreError, ClientError, ResponseParserError, StoreDownError):
            if own_etag(self.again, self.at, token=token) is None:
                raise

    def _send(self, upload: dict[str, str], number: int, offset: int, length: int) -> dict[str, Any]:
        data = read_part(self.file.fileno(), offset, length)
        own = checksum(data)
        sent = self.again.upload_part(**upload, PartNumber=number, Body=data, ChecksumSHA256=own)
        return {"PartNumber": number, "ETag": whole(sent, "ETag")["ETag"], "ChecksumSHA256": own}
