"""The local S3 server: SeaweedFS with one bucket, credentials and conditional writes."""

from __future__ import annotations

import contextlib
import http.client
import secrets
from typing import TYPE_CHECKING

from everlearn.local import store_probe
from everlearn.local.local_server import LocalServer, find_program
from everlearn.local.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

# Defaults of `weed mini` that are unsafe: telemetry, all interfaces, more servers. Volumes are small, because each
# bucket takes one and their number is limited by the free disk.
SEAWEED_FLAGS = (
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=64",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
)

# Without limits the server grows to 600 MB. With GOMEMLIMIT at 200 MiB, which its 140 MB of resident memory nearly
# reach in the runtime's count, Go collects garbage all the time: 12 % of a core while idle, 78 % of that in the
# collector. At 400 MiB it idles at 0.5 % and peaks at 270 MB under load.
GO_MEMORY = {"GOMEMLIMIT": "400MiB", "GOGC": "50"}


class LocalS3(LocalServer):
    """SeaweedFS with the bucket `bucket`; requests without its credentials are refused."""

    name = "SeaweedFS"
    roles = ("master", "volume", "filer", "s3", "admin")

    def __init__(self, directory: Path, *, bucket: str = "everlearn") -> None:
        super().__init__(directory)
        self.bucket = bucket

    @property
    def endpoint_url(self) -> str:
        """URL of the S3 API."""
        return f"http://{HOST}:{self.config.ports['s3']}"

    @property
    def access_key(self) -> str:
        """Access key ID."""
        return self.config.keys[0]

    @property
    def secret_key(self) -> str:
        """Secret access key."""
        return self.config.keys[1]

    def draw_keys(self) -> tuple[str, ...]:
        """Return an access key ID of 20 characters and a secret of 40, the lengths that AWS uses."""
        return ("EL" + secrets.token_hex(9).upper(), secrets.token_hex(20))

    def command(self) -> list[str]:
        """Return the command line of `weed mini`."""
        ports = [f"-{role}.port={port}" for role, port in self.config.ports.items()]
        options = [f"-dir={self.directory / 'data'}", f"-ip={HOST}", f"-bucket={self.bucket}", *SEAWEED_FLAGS]
        return [find_program("weed"), "-logtostderr=true", "mini", *options, *ports]

    def environ(self) -> dict[str, str]:
        """Return the credentials that the server demands, and limits for Go's memory."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return keys | GO_MEMORY

    def prepare(self) -> None:
        """Make the bucket, which another command may have named than the one that started the server."""
        with contextlib.suppress(OSError, http.client.HTTPException):  # `is_ready` says what is wrong
            store_probe.request(
                self.endpoint_url, method="PUT", path=f"/{self.bucket}", keys=(self.access_key, self.secret_key)
            )

    def is_ready(self) -> bool:
        """Return whether an object can be written and read with the credentials, and not without."""
        keys = {"access_key": self.access_key, "secret_key": self.secret_key}
        return store_probe.is_ready(self.endpoint_url, bucket=self.bucket, **keys)
