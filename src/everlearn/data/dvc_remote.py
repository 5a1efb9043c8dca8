"""DVC remote of a bucket, `s3://<bucket>/dvc`: push a snapshot with DVC's API, and find it without DVC.

    python -m everlearn.data.dvc_remote DIRECTORY BUCKET ENDPOINT_URL REGION

DVC runs in a child process, in a temporary repository without git. Its import changes the process: it wraps the
standard streams, silences asyncio's logger and starts threads; and only an environment of its own keeps DVC from the
configuration and caches of the user and of the machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from everlearn.errors import StoreDownError

if TYPE_CHECKING:
    from everlearn.settings import StoreSettings

MODULE = "everlearn.data.dvc_remote"
FILE_NAME = "snapshot.jsonl"
FOLDER = "dvc"
TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60


def push(data: bytes, *, store: StoreSettings, timeout_s: float = TIMEOUT_S) -> bytes:
    """Push `data` as snapshot.jsonl, and return the `.dvc` file that points to it.

    Can be repeated after a kill at any moment: the object appears whole or not at all, and DVC sends nothing that the
    remote already holds.

    Raises:
        StoreDownError: DVC failed, was killed, or took longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="everlearn-dvc-") as directory:
        path = Path(directory, FILE_NAME)
        path.write_bytes(data)
        arguments = [directory, store.bucket, str(store.endpoint_url), store.region]
        try:
            # -P: a package in the working directory must not shadow an installed one.
            done = subprocess.run(
                [sys.executable, "-P", "-m", MODULE, *arguments],
                env=_environment(directory),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failure(store, f"no result after {timeout_s:.0f} s") from None
        if done.returncode:
            raise _failure(store, _reason(done.stderr) or f"exit status {done.returncode}")
        return path.with_name(f"{FILE_NAME}.dvc").read_bytes()


def object_key(pointer: str | bytes) -> str:
    """Return the key of the object that a `.dvc` file points to, in the layout of DVC 3."""
    md5 = yaml.safe_load(pointer)["outs"][0]["md5"]
    return f"{FOLDER}/files/md5/{md5[:2]}/{md5[2:]}"


def main(directory: str, bucket: str, endpoint_url: str, region: str) -> None:
    """Make `directory` a DVC repository, add its snapshot.jsonl and push it."""
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    remote = {
        "url": f"s3://{bucket}/{FOLDER}",
        "endpointurl": endpoint_url,
        "region": region,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    with set_loggers_level(logging.ERROR), contextlib.closing(Repo.init(directory, no_scm=True)) as repo:
        with repo.config.edit() as config:
            config["core"] |= {"remote": "line", "analytics": False, "check_update": False}
            config["remote"]["line"] = remote
        path = str(Path(directory, FILE_NAME))
        repo.add(path)
        repo.push(f"{path}.dvc")


def _environment(directory: str) -> dict[str, str]:
    """Return the environment of the child process. DVC writes below `directory` only."""
    folders = ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
    defaults = {
        # As the store does: not every S3 server accepts botocore's checksum trailers. The payload's SHA-256 is signed.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "LOGNAME": "everlearn",  # DVC needs a user name; a container's user may have none
    }
    isolated = {name: str(Path(directory, ".dvc-home", name.lower())) for name in folders}
    return defaults | os.environ | isolated | {"DVC_NO_ANALYTICS": "1"}


def _reason(stderr: str) -> str | None:
    """Return the first error that DVC logged, else the last line, which is that of a traceback."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("ERROR: ")), lines[-1] if lines else None)


def _failure(store: StoreSettings, reason: str) -> StoreDownError:
    return StoreDownError(
        f"DVC cannot push to s3://{store.bucket}/{FOLDER} at {store.endpoint_url} ({reason}); run the same command again"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
