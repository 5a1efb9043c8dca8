from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

import pytest

from everlearn.cli import DISK_FULL
from everlearn.cli.context import Place
from everlearn.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.everlearn.cli.conftest import Ended


def test_a_misspelt_setting_is_one_message_and_exit_code_2(everlearn: Callable[..., Ended], params: Path) -> None:
    params.write_text("learn: {sed: 1}", encoding="utf-8")
    ended = everlearn("status")
    assert ended.code == SettingsError.exit_code
    assert ended.err == "unknown setting learn.sed; did you mean learn.seed?\n"
    assert ended.out == ""


def test_an_unknown_command_is_refused(everlearn: Callable[..., Ended]) -> None:
    assert everlearn("stauts").code == 2


def test_a_full_disk_is_one_message_and_an_exit_code_of_its_own(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Place) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Place, "registry", full)
    ended = everlearn("--verbose", "status")
    assert ended.code == DISK_FULL
    assert "the disk is full" in ended.err


def test_an_error_that_nobody_expected_keeps_its_traceback(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Place) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Place, "registry", broken)
    with pytest.raises(OSError, match="broken"):
        everlearn("status")


def test_a_store_and_a_prefect_of_ones_own_are_left_alone(
    home: Path, params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params.write_text("store: {endpoint_url: 'https://s3.example'}", encoding="utf-8")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    place = Place(home=home, params=params)
    place.connect()
    assert place.settings().store.endpoint_url == "https://s3.example"
    import os

    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"


def test_a_key_is_drawn_once_and_not_where_the_settings_do_without(home: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"signing: {{key_file: {tmp_path / 'key.pem'}}}", encoding="utf-8")
    place = Place(home=home, params=params)
    place.own_key()
    drawn = (tmp_path / "key.pem").read_bytes()
    place.own_key()
    assert (tmp_path / "key.pem").read_bytes() == drawn


def test_what_stopped_a_run_is_said_once(everlearn: Callable[..., Ended]) -> None:
    record = logging.makeLogRecord({"name": "prefect.flow_runs", "msg": "no answer", "levelno": logging.ERROR})
    for word, shown in (("--verbose", True), ("--json", False)):
        everlearn(*([word] if shown else []), "status")
        assert {bool(handler.filter(record)) for handler in logging.getLogger().handlers} == {shown}
