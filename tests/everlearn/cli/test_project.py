"""Outside a project, a command says so before it does or starts anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from everlearn.cli import app, main
from everlearn.cli.project import STORE_IS_ENOUGH, STORE_VARIABLES, WITHOUT_PROJECT, require_project
from everlearn.errors import SettingsError
from everlearn.local.laptop import servers
from everlearn.settings import load
from tests.everlearn.cli.conftest import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def commands_of(group: Any, *names: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every command, and the words that satisfy its required arguments and options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, *names, name)
            continue
        required = [each for each in command.params if each.required]
        words = [
            word for each in required for word in ([] if each.param_type_name == "argument" else [each.opts[0]]) + ["x"]
        ]
        yield " ".join([*names, name]), tuple(words)


COMMANDS = dict(commands_of(typer.main.get_group(app)))


@pytest.fixture
def outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run `everlearn WORDS…` in an empty directory."""

    def run(*words: str) -> Ended:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["everlearn", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ended(code=int(ended.value.code or 0), out=out, err=err)

    return run


def test_every_exception_is_a_command() -> None:
    assert set(COMMANDS) > WITHOUT_PROJECT | STORE_IS_ENOUGH


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_PROJECT))
def test_a_command_outside_a_project_names_the_remedy(name: str, outside: Callable[..., Ended], tmp_path: Path) -> None:
    ended = outside(*name.split(), *COMMANDS[name])
    assert ended.code == SettingsError.exit_code
    assert ended.err.startswith(f"no params.yaml here, in {tmp_path}: change to the directory of a project, ")
    assert "`everlearn init DIR`" in ended.err
    assert (STORE_VARIABLES[0] in ended.err) == (name in STORE_IS_ENOUGH)
    assert not list(tmp_path.iterdir()), "nothing was made"


@pytest.mark.parametrize("name", ["", *sorted(COMMANDS)])
def test_help_works_outside_a_project(name: str, outside: Callable[..., Ended]) -> None:
    assert outside(*name.split(), "--help").code == 0
    assert outside("--version").out.strip()


def test_a_key_can_be_created_outside_a_project(outside: Callable[..., Ended], tmp_path: Path) -> None:
    assert outside("keys", "new", "key.pem").code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["key.pem"]


def test_a_domain_can_be_made_and_tried_outside_a_project(outside: Callable[..., Ended], tmp_path: Path) -> None:
    assert outside("domain", "new", "capitals").code == 0
    assert outside("domain", "generate", "arithmetic", "--count", "3", "--to", "new.jsonl").code == 0
    assert outside("domain", "check", "arithmetic", "--problems", "new.jsonl").code == 0
    assert {each.name for each in tmp_path.iterdir()} == {"capitals", "new.jsonl"}


def test_a_named_settings_file_must_exist(outside: Callable[..., Ended], tmp_path: Path) -> None:
    ended = outside("--params", "other/mine.yaml", "up")
    assert (ended.code, f"no mine.yaml here, in {tmp_path / 'other'}" in ended.err) == (2, True)


def test_the_store_is_enough_for_commands_on_the_bucket() -> None:
    nowhere = Path("/nowhere/params.yaml")
    for name in COMMANDS.keys() - WITHOUT_PROJECT:
        for variable in STORE_VARIABLES:
            if name in STORE_IS_ENOUGH:
                require_project(name, params=nowhere, environ={variable: "x"})
                continue
            with pytest.raises(SettingsError, match=r"no params\.yaml here"):
                require_project(name, params=nowhere, environ={variable: "x"})


def test_a_consumer_reads_a_store_without_a_project(
    outside: Callable[..., Ended],
    publish: Callable[..., str],
    home: Path,
    params: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    chosen = load(params)
    s3, _ = servers(home)
    monkeypatch.setenv("EVERLEARN_STORE__ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("EVERLEARN_STORE__LINE", chosen.store.line)
    monkeypatch.setenv("EVERLEARN_SIGNING__KEY_FILE", str(home / "signing.pem"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    params.unlink()
    ended = outside("pull", "champion", "--to", "adapter", "--json")
    assert (ended.code, ended.facts["version"]) == (0, "v0001")
    assert (params.parent / "adapter" / "adapter_model.safetensors").is_file()
