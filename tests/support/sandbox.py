"""The sandbox of the domain programs in tests: the real one, or where it cannot be made a stand-in without isolation.

The stand-in runs harmless programs only. Tests of the isolation itself need the real one, and are skipped without.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.programs.sandbox import require_sandbox
from everlearn.errors import SandboxError

if TYPE_CHECKING:
    from pathlib import Path

STAND_IN = """#!{python}
import os, sys
given = sys.argv[1:]
info = int(given[given.index("--info-fd") + 1])
os.write(info, b'{{"child-pid": %d}}' % os.getpid())
os.close(info)
os.environ["PYTHONHASHSEED"] = given[given.index("--setenv") + 2]
command = given[given.index("--chdir") + 2 :]
os.execv(command[0], command)
"""


@functools.cache
def why_not() -> str:
    """Return why answers cannot be run in a sandbox here; nothing if they can."""
    try:
        require_sandbox()
    except SandboxError as error:
        return str(error)
    return ""


def needs_sandbox() -> pytest.MarkDecorator:
    """Return the mark of tests of the isolation itself."""
    return pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a sandbox")


def install_stand_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the program `bwrap` one that isolates nothing."""
    program = folder / "bwrap"
    program.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    patch.setenv("PATH", str(folder))
    require_sandbox.cache_clear()
