"""The service that starts a worker at boot, checked by its command line and, where it is installed, by systemd itself."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from everlearn.cli import app

UNIT = Path(__file__).parents[2] / "infra" / "systemd" / "everlearn-worker@.service"
TEXT = UNIT.read_text(encoding="utf-8")


def test_the_service_runs_a_command_that_exists() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(TEXT)
    program, command, *options = unit["Service"]["ExecStart"].split()
    assert program.endswith("/.venv/bin/everlearn")
    worker = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    with worker.make_context(command, options) as context:
        assert context.params == {"pool": ["%i"], "limit": None}, (
            "the pool limits how many climbs run, and a night waits for its own"
        )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_accepts_the_service(tmp_path: Path) -> None:
    program = tmp_path / "everlearn"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = TEXT.replace("/srv/everlearn/.venv/bin/everlearn", str(program)).replace("User=everlearn", "User=root")
    unit = tmp_path / "everlearn-worker@gpu.service"
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
