"""A bucket of an old release, restored to a real S3 server, and a directory in which its user would work."""

from __future__ import annotations

import os
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from everlearn.cli import main
from everlearn.settings import load
from tests.support.night import ROOT

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from tests.conftest import S3Server

ARCHIVES = sorted(Path(__file__).parent.glob("bucket-*.tar.gz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """A user's directory with the old signing key, suites and shards, and today's code on the old bucket."""

    folder: Path
    endpoint_url: str
    bucket: str
    capsys: pytest.CaptureFixture[str]

    def write_params(self, line: str, **sections: Any) -> Path:
        """Write `params.yaml` for a line. What is not given has today's default."""
        store = {"bucket": self.bucket, "endpoint_url": self.endpoint_url, "line": line}
        base = {"path": str(self.folder / "data" / "base")}
        signing = {"key_file": str(self.folder / "signing.pem")}
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump({"store": store, "signing": signing, "base": base} | sections), encoding="utf-8")
        return path

    def settings(self, line: str, **sections: Any) -> Settings:
        return load(self.write_params(line, **sections), environ={})

    def everlearn(self, *words: str, line: str = "history", **sections: Any) -> Ended:
        """Run a command to its end."""
        params = self.write_params(line, **sections)
        with pytest.MonkeyPatch.context() as patch:
            options = ["--home", str(self.folder / ".everlearn"), "--params", str(params)]
            patch.setattr(sys, "argv", ["everlearn", *options, *words])
            self.capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        return Ended(code=int(ended.value.code or 0), out=self.capsys.readouterr().out)


@pytest.fixture(scope="session", params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked archive; tests only read it."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(request.param) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian's Python 3.11.2 has no filters
        tar.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def history_bucket(archive: Path, s3_server: S3Server) -> str:
    """A bucket with the line `history`, shared by tests that do not change its history."""
    return restore(archive / "bucket", s3_server, ("history", "dvc"))


@pytest.fixture
def user_folder(archive: Path, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user, with the keys of the S3 server in the environment."""
    for name in [name for name in os.environ if name.startswith(("EVERLEARN_", "PREFECT_API"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "base").symlink_to(ROOT / "tests" / "upgrade" / "base-0.1.0")  # the demo has another one since
    for name in ("data/suites", "new", "signing.pem"):
        (tmp_path / name).symlink_to(archive / name)
    return tmp_path


@pytest.fixture
def upgraded(
    user_folder: Path, s3_server: S3Server, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Upgraded:
    """Today's code on the shared bucket, or, with parameters, on a bucket of its own that holds those prefixes."""
    if hasattr(request, "param"):
        bucket = restore(request.getfixturevalue("archive") / "bucket", s3_server, request.param)
    else:
        bucket = request.getfixturevalue("history_bucket")
    return Upgraded(folder=user_folder, endpoint_url=s3_server.endpoint_url, bucket=bucket, capsys=capsys)


def restore(objects: Path, server: S3Server, prefixes: tuple[str, ...]) -> str:
    """Upload the objects below some prefixes to a new bucket, under the keys that they had. Return the bucket."""
    bucket = server.create_bucket()
    store = server.store(bucket)
    for path in sorted(objects.rglob("*")):
        key = path.relative_to(objects).as_posix()
        if path.is_file() and key.startswith(prefixes):
            store.put(key, path.read_bytes())
    return bucket
