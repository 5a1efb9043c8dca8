"""Tasks run as plain functions (`.fn`) on a real bucket; whole flows are tested in tests/flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.night import tiny, write_suite

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings
    from tests.conftest import S3Server


@pytest.fixture
def settings(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a tiny night on a fresh bucket, in a directory with one skill suite, with credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path)
    return tiny(s3_server, bucket)
