"""Translation of botocore's errors into Everlearn's, each with a remedy."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from everlearn.errors import ConflictError, NotFoundError, StoreDownError, StoreError
from everlearn.storage.s3_responses import http_status, server_date

if TYPE_CHECKING:
    from collections.abc import Iterator

CREDENTIALS_REMEDY = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
# A response to HEAD has no body: botocore then uses the HTTP status as the code.
CREDENTIAL_CODES = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "ExpiredToken",
    "InvalidToken",
    "403",
}
CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
NOT_FOUND_CODES = {"NoSuchKey", "NotFound", "404"}
CLOCK_SKEW_CODE = "RequestTimeTooSkewed"
MAX_CLOCK_SKEW = timedelta(minutes=15)  # the limit of S3


@contextlib.contextmanager
def translated_errors(location: str, key: str) -> Iterator[None]:
    """Raise a StoreError for an error of botocore in the block; `location` and `key` appear in its message."""
    try:
        yield
    except ClientError as error:
        raise _from_response(error, location, key) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise StoreDownError(f"{location}: no credentials; {CREDENTIALS_REMEDY}") from error
    except ParamValidationError as error:
        raise StoreError(f"{location}: {error}; correct store.bucket") from error
    except ValueError as error:  # botocore raises it for an endpoint that is not a URL
        raise StoreDownError(f"{location}: {error}; correct store.endpoint_url") from error
    except (BotoCoreError, ResponseParserError, OSError) as error:
        raise StoreDownError(
            f"{location} does not answer ({error}); start it with `everlearn up`, or correct store.endpoint_url"
        ) from error


def _from_response(error: ClientError, location: str, key: str) -> StoreError:
    code = str(error.response.get("Error", {}).get("Code") or "")
    if code in CONFLICT_CODES:
        return ConflictError(f"{key}: another writer was first")
    if code in NOT_FOUND_CODES:
        return NotFoundError(f"{key} does not exist in {location}")
    fault = _server_fault(error, code)
    if fault is not None:
        return StoreDownError(f"{location} {fault}")
    return StoreError(f"{location} refuses {key or 'the request'}: {error}")


def _server_fault(error: ClientError, code: str) -> str | None:
    """Return why every request fails at this server or bucket; None if the error concerns the single request."""
    status = http_status(error)
    if code == "NoSuchBucket":
        return "does not exist; create it, or correct store.bucket"
    if _is_clock_skew(error):
        return "and this machine differ in time; set the clock of the one that is off"
    if code in CREDENTIAL_CODES or status == 403:
        return f"refuses these credentials ({code}); {CREDENTIALS_REMEDY}"
    if status >= 500:
        return f"answers {code or status}; look at its log and its disk, then try again"
    return None


def _is_clock_skew(error: ClientError) -> bool:
    if error.response.get("Error", {}).get("Code") == CLOCK_SKEW_CODE:
        return True
    # A refused HEAD carries no code: compare the clocks.
    date = server_date(error.response)
    return http_status(error) == 403 and date is not None and abs(datetime.now(tz=UTC) - date) > MAX_CLOCK_SKEW
