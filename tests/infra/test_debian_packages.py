"""infra/debian-packages: installs missing packages, and does not fail where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "debian-packages"

pytestmark = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this is no Debian")


def run(*packages: str, path: str) -> subprocess.CompletedProcess[str]:
    command = [str(shutil.which("bash")), str(SCRIPT), *packages]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_installed_packages_are_not_reinstalled() -> None:
    ended = run("bash", "dpkg", path=os.environ["PATH"])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_packages_that_cannot_be_installed_are_named(tmp_path: Path) -> None:
    for name in ("dpkg-query", "grep", "id"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    ended = run("bash", "no-such-package", path=str(tmp_path))
    assert ended.returncode == 0
    assert "not installed: no-such-package; tests" in ended.stderr
