"""Start, stop and find the two servers of a laptop: SeaweedFS for S3, Prefect for schedules and the dashboard.

laptop.up(Path(".everlearn"))      # starts the servers that are not running
laptop.down(Path(".everlearn"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.local.prefect_server import LocalPrefect
from everlearn.local.seaweedfs import LocalS3

if TYPE_CHECKING:
    from pathlib import Path


def servers(directory: Path, *, bucket: str = "everlearn") -> tuple[LocalS3, LocalPrefect]:
    """Return both servers of a state directory, running or not."""
    return LocalS3(directory / "s3", bucket=bucket), LocalPrefect(directory / "prefect")


def up(directory: Path, *, bucket: str = "everlearn") -> dict[str, bool]:
    """Start both servers; map each name to whether this call started it."""
    return {server.name: server.start() for server in servers(directory, bucket=bucket)}


def down(directory: Path) -> dict[str, bool]:
    """Stop Prefect, then S3; map each name to whether it was running."""
    return {server.name: server.stop() for server in reversed(servers(directory))}


def environment(directory: Path) -> dict[str, str]:
    """Return the variables with which a process finds the running servers of a state directory."""
    s3, prefect = servers(directory)
    variables: dict[str, str] = {}
    if s3.is_running():
        variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"] = s3.access_key, s3.secret_key
        variables["EVERLEARN_STORE__ENDPOINT_URL"] = variables["AWS_ENDPOINT_URL_S3"] = s3.endpoint_url
    if prefect.is_running():
        variables["PREFECT_API_URL"] = prefect.api_url
        # Log records of `everlearn` are sent to the server; a record outside a run is dropped without a warning.
        variables["PREFECT_LOGGING_EXTRA_LOGGERS"] = "everlearn"
        variables["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
        variables["DO_NOT_TRACK"] = "1"
    return variables
