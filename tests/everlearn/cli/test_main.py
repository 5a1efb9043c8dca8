from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from everlearn.cli.context import Installation
from everlearn.cli.exit_codes import DISK_FULL, NOT_WRITABLE
from everlearn.errors import DiskFullError, SettingsError
from everlearn.local import local_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.everlearn.cli.conftest import Ended


def test_a_misspelt_setting_is_one_message_and_exit_code_2(everlearn: Callable[..., Ended], params: Path) -> None:
    params.write_text("learn: {sed: 1}", encoding="utf-8")
    ended = everlearn("status")
    assert ended.code == SettingsError.exit_code
    assert ended.err == "unknown setting learn.sed; did you mean learn.seed?\n"
    assert ended.out == ""


def test_a_misspelt_setting_of_another_profile_is_named_before_its_night(
    everlearn: Callable[..., Ended], params: Path
) -> None:
    params.write_text("profiles: {quick: {learn: {steps: 3}}, nightly: {learn: {stps: 1}}}", encoding="utf-8")
    said = "profile nightly: unknown setting learn.stps; did you mean learn.steps?"
    assert everlearn("doctor", "--json").facts[0] == {"name": "settings", "ok": False, "detail": said}
    ended = everlearn("deploy")
    assert ended.code == SettingsError.exit_code
    assert ended.err == f"{said}\n"


def test_a_line_that_no_setting_accepts_is_not_deployed(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("deploy", "--line", "math", "--line", "My Line")
    assert (ended.code, ended.err) == (
        2,
        "'My Line' cannot name a line: use lower-case letters, digits, dots, dashes or underscores\n",
    )


def test_settings_that_no_scheduled_night_would_read_are_not_deployed(
    everlearn: Callable[..., Ended], params: Path
) -> None:
    other = params.rename(params.with_name("math.yaml"))
    ended = everlearn("--params", str(other), "deploy")
    assert (ended.code, f"scheduled nights read {params}, not {other}: name" in ended.err) == (2, True)


def test_an_unknown_command_is_refused(everlearn: Callable[..., Ended]) -> None:
    assert everlearn("stauts").code == 2


def test_a_full_disk_has_its_own_exit_code(everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Installation) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Installation, "registry", full)
    ended = everlearn("--verbose", "status")
    assert ended.code == DISK_FULL
    assert "the disk is full" in ended.err


def test_too_little_space_for_a_server_is_a_full_disk(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "MIN_FREE_BYTES", 2**62)
    ended = everlearn("up", at=tmp_path / "state")
    assert (ended.code, DISK_FULL) == (9, DiskFullError.exit_code)
    assert "MiB are free on this disk" in ended.err


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_checkout_is_one_message_without_traceback(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    ended = everlearn("up", at=Path("/srv/checkout/.everlearn"))
    assert (ended.code, ended.out) == (NOT_WRITABLE, "")
    assert f"cannot be read or written ({os.strerror(number)}); change its permissions" in ended.err
    assert "everlearn --home DIR" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("ingest", "a" * 300),
        ("keys", "new", "a" * 300),
        ("domain", "new", "capitals", "--to", "a" * 300),
        ("ladder", "a" * 300),
        ("init", "a" * 300),
    ],
)
def test_a_name_too_long_for_a_file_is_one_message(everlearn: Callable[..., Ended], words: tuple[str, ...]) -> None:
    ended = everlearn(*words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (NOT_WRITABLE, "", 1)
    assert "cannot be read or written (File name too long)" in ended.err


def test_a_working_directory_that_is_gone_is_one_message(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ended = everlearn("--params", "params.yaml", "status")
    assert (ended.code, ended.err) == (
        NOT_WRITABLE,
        "the working directory does not exist any more; change to another one\n",
    )


def test_a_key_below_a_file_is_one_message(everlearn: Callable[..., Ended], params: Path) -> None:
    ended = everlearn("keys", "new", str(params / "key"))
    assert (ended.code, f"{params} cannot be read or written (File exists)" in ended.err) == (NOT_WRITABLE, True)


def test_the_name_of_a_file_that_is_not_utf_8_is_shown(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    words = ("domain", "generate", "arithmetic", "--count", "2", "--to")
    assert everlearn(*words, str(tmp_path / "caf\udce9.jsonl"), "--json").facts["file"].endswith("caf\udce9.jsonl")
    ended = everlearn(*words, str(tmp_path / "caf\udce8.jsonl"))
    assert (ended.code, "caf\\udce8.jsonl: 2 problems" in ended.out) == (0, True)


def test_doctor_goes_on_after_a_directory_that_cannot_be_read(everlearn: Callable[..., Ended], params: Path) -> None:
    ended = everlearn("doctor", "--json", at=params)
    found = {each["name"]: each["detail"] for each in ended.facts}
    assert (ended.code, "Not a directory" in found["S3"], "Prefect" in found) == (1, True, True)


def test_a_state_directory_below_a_file_is_one_message(everlearn: Callable[..., Ended], params: Path) -> None:
    ended = everlearn("up", at=params / "state")
    assert ended.code == NOT_WRITABLE
    assert f"{params}/state" in ended.err


def test_an_unexpected_error_keeps_its_traceback(
    everlearn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Installation) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Installation, "registry", broken)
    with pytest.raises(OSError, match="broken"):
        everlearn("status")


def test_connect_keeps_a_configured_store(home: Path, params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params.write_text("store: {endpoint_url: 'https://s3.example'}", encoding="utf-8")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    installation = Installation(home=home, params=params)
    installation.connect()
    assert installation.settings().store.endpoint_url == "https://s3.example"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"


def test_create_key_keeps_an_existing_key(home: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"signing: {{key_file: {tmp_path / 'key.pem'}}}", encoding="utf-8")
    installation = Installation(home=home, params=params)
    installation.create_key()
    drawn = (tmp_path / "key.pem").read_bytes()
    installation.create_key()
    assert (tmp_path / "key.pem").read_bytes() == drawn


def test_the_error_of_a_run_is_printed_once(everlearn: Callable[..., Ended]) -> None:
    record = logging.makeLogRecord({"name": "prefect.flow_runs", "msg": "no answer", "levelno": logging.ERROR})
    for word, shown in (("--verbose", True), ("--json", False)):
        everlearn(*([word] if shown else []), "status")
        assert {bool(handler.filter(record)) for handler in logging.getLogger().handlers} == {shown}


def test_home_is_beside_the_settings_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "project" / "params.yaml"
    params.parent.mkdir()
    params.touch()
    assert Installation.beside(params, home=None).home == params.parent / ".everlearn"
    assert Installation.beside(params, home=tmp_path / "state").home == tmp_path / "state"
    assert Installation.beside(Path("none.yaml"), home=None).home == Path(".everlearn")
