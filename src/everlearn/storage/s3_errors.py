"""What an answer of S3 is worth: is it whole, is it about our own write, is it about the clock?

An HTTP answer that ends within its headers looks like a shorter one to Python's client: a GET like an empty object, a
listing like an empty bucket. And a conditional write whose answer is lost, or that a gateway has sent twice, looks like
a lost race to whoever tries again. So every answer has to have what S3 always says, and every conditional write carries
a token of its own, by which it is known again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from everlearn.errors import StoreDownError

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "everlearn-write"  # noqa: S105 - it is no secret
TOO_SKEWED = "RequestTimeTooSkewed"
MOST_SKEW = timedelta(minutes=15)  # what S3 tolerates


def whole(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    """The answer, if it says all that it has to. StoreDownError if it was cut short, or is none of an S3 server."""
    missing = [name for name in names if name not in answer]
    etag = str(answer.get("ETag", ""))
    if missing or etag == '"' or (etag.startswith('"') and not etag.endswith('"')):
        if "Body" in answer:
            answer["Body"].close()
        what = ", ".join(missing) or "a whole ETag"
        raise StoreDownError(f"an answer without {what}: it was cut short, or no S3 server has given it; try again")
    return answer


def own_etag(client: Any, at: Mapping[str, str], *, token: str) -> str | None:
    """The etag of what is there if the write with that token has made it; None if another has, or nothing is there.

    StoreDownError if that cannot be found out: then nothing is known of the write.
    """
    try:
        answer = whole(client.head_object(**at), "ETag")
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and status_of(error) == 404:
            return None
        raise StoreDownError(f"{at['Key']}: nobody says whether it was written ({error}); try again") from error
    return str(answer["ETag"]) if answer.get("Metadata", {}).get(TOKEN) == token else None


def date_of(answer: Mapping[str, Any]) -> datetime | None:
    """The server's clock when it answered; None where it does not say."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return None


def is_about_clock(error: ClientError) -> bool:
    """Whether the server refuses a request because of its date. A HEAD is refused without a word: there the dates tell."""
    if error.response.get("Error", {}).get("Code") == TOO_SKEWED:
        return True
    theirs = date_of(error.response)
    return status_of(error) == 403 and theirs is not None and abs(datetime.now(tz=UTC) - theirs) > MOST_SKEW


def status_of(error: ClientError) -> int:
    """The HTTP status of an error; 0 where there was none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
