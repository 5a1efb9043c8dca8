"""The README's tour works when it is pasted, line by line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from everlearn.cli import app
from tests.support.tour import ROOT, recipe_of, tour, words_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.everlearn.cli.conftest import Ended

GROUP: Any = typer.main.get_group(app)
COMMANDS = [line for line in tour() if line.startswith("everlearn ")]
NEEDS_A_NIGHT = ("cycle", "init", "down")
SMALL = {"EVERLEARN_LADDER__RUNGS": "240", "EVERLEARN_LEARN__STEPS": "14", "EVERLEARN_INGEST__MIN_TARGET_ITEMS": "80"}
"""A night of a few minutes that the gate passes on a quiet machine."""


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_tour_can_be_parsed(line: str) -> None:
    with GROUP.make_context("everlearn", words_of(line), resilient_parsing=False) as context:
        name, command, words = GROUP.resolve_command(context, context._protected_args + context.args)
        command.make_context(name, words, parent=context).close()


def test_the_tour_has_its_stations() -> None:
    lines = tour()
    stations = ["make cycle", "rollback", "unbar v0001", "promote v0001", "--again", "init", "cycle --data examples"]
    at = [next(number for number, line in enumerate(lines) if station in line) for station in stations]
    assert at == sorted(at)
    assert not [line for line in lines if "rollback" in line and "--yes" not in line], (
        "it would ask, and read the next line"
    )


def test_the_tour_without_its_nights_leads_back_to_the_champion(
    everlearn: Callable[..., Ended], publish: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.chdir(tmp_path)  # `pull --to adapter` writes there
    for line in COMMANDS:
        words = words_of(line)
        if words[0] not in NEEDS_A_NIGHT:
            ended = everlearn(*words)
            assert ended.code == 0, (line, ended.err)
    facts = everlearn("status", "--json").facts
    assert (facts["champion"], facts["barred"], facts["flagged"]) == ("v0001", [], [])


@pytest.mark.slow
def test_the_tour_works_when_it_is_pasted(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in (name for name in listed.splitlines() if not name.startswith("tests/")):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    commands = checkout / ".venv" / "bin"
    commands.mkdir(parents=True)
    program = f"#!/bin/sh\nexec {sys.executable} -P -c 'from everlearn.cli import main; main()' \"$@\"\n"
    (commands / "everlearn").write_text(program, encoding="utf-8")
    (commands / "everlearn").chmod(0o755)
    pasted = [each for line in tour() for each in as_run(line)]
    script = "\n".join(f'{line}\necho "@@ $? {number}"' for number, line in enumerate(pasted))
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "AWS_", "PREFECT_"))
    }
    path = os.pathsep.join([str(commands), os.environ["PATH"]])
    environ = plain | SMALL | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "PATH": path}
    done = subprocess.run(
        ["bash"], input=script, cwd=checkout, env=environ, check=False, capture_output=True, text=True, timeout=3500
    )
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("@@ ")]
    nights = {number for number, line in enumerate(pasted) if line.startswith("everlearn cycle")}
    wrong = [
        (line, code)
        for number, (line, code) in enumerate(zip(pasted, codes, strict=True))
        if code not in ({0, 10, 11} if number in nights - {min(nights)} else {0})
    ]
    assert not wrong, done.stderr[-3000:]


def as_run(line: str) -> list[str]:
    """Return the commands of a line: those of `make cycle` without the installation, none of `make test`."""
    if line.startswith("make "):
        return recipe_of("cycle") if line.startswith("make cycle") else []
    return [line]
