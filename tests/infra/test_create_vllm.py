"""infra/create-vllm on a machine with a driver: a C compiler and Python's headers come before the gigabytes of vLLM."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "create-vllm"
PYTHON = """#!/bin/sh
case "$*" in
  *sysconfig*) echo {folder} ;;
  *) echo "$@" >> {folder}/pip ;;
esac
"""
TOOLS = ("bash", "dirname", "mkdir", "cp", "chmod")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that is the whole PATH, with the script, a driver, and a venv whose Python notes what pip would install."""
    for name in TOOLS:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    shutil.copy(SCRIPT, tmp_path)
    write(tmp_path / "nvidia-smi")
    write(tmp_path / "python", PYTHON.format(folder=tmp_path))
    write(tmp_path / "create-venv", f'#!/bin/sh\nmkdir -p "$1/bin"\ncp {tmp_path}/python "$1/bin/python"\n')
    write(tmp_path / "debian-packages", f'#!/bin/sh\necho "$@" >> {tmp_path}/installed\n')
    return tmp_path


def write(path: Path, text: str = "#!/bin/sh\n") -> None:
    path.write_text(text)
    path.chmod(0o755)


def create(machine: Path) -> subprocess.CompletedProcess[str]:
    command = [str(machine / "bash"), str(machine / "create-vllm"), str(machine / "venv")]
    return subprocess.run(command, env={"PATH": str(machine)}, capture_output=True, text=True, check=False)


def test_a_compiler_and_headers_that_are_there_are_enough(machine: Path) -> None:
    write(machine / "gcc")
    (machine / "Python.h").touch()
    assert create(machine).returncode == 0
    assert not (machine / "installed").exists()
    assert f"install -r {machine}/vllm.txt" in (machine / "pip").read_text()


@pytest.mark.parametrize(
    ("there", "packages"),
    [((), "gcc libc6-dev python3.11-dev"), (("Python.h",), "gcc libc6-dev"), (("clang",), "python3.11-dev")],
)
def test_what_is_missing_is_installed_or_named_before_vllm(
    machine: Path, there: tuple[str, ...], packages: str
) -> None:
    for name in there:
        write(machine / name)
    ended = create(machine)
    assert ended.returncode == 1
    assert f"install a C compiler and {machine}/Python.h (Debian: {packages})" in ended.stderr
    assert (machine / "installed").read_text() == f"{packages}\n"
    assert not (machine / "pip").exists()
