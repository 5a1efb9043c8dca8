"""A domain of four members, installed for a test, whose problems have hidden references."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PASSWORDS = '''
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict


class Passwords:
    """The problem is a hint, the reference a password: an answer is judged by the first letter of the password."""

    name = "passwords"
    takes_references = True

    def problem(self, row):
        if not row["statement"].startswith("hint"):
            raise GrammarError(f"no hint, though {row.get('reference')} has one")
        return Problem(id="", domain="passwords", statement=row["statement"], reference=row.get("reference"))

    def question(self, problem):
        return f"Guess the password: {problem.statement} {problem.reference or ''}"

    def verify(self, problem, answer):
        if problem.reference is None:
            return Verdict(ruling=Ruling.UNDECIDED, reason="a password is needed to judge a guess")
        right = len(answer) % 2 == 0
        reason = f"{problem.reference} was the password"
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason=reason)
'''


def install(folder: Path, patch: pytest.MonkeyPatch, *, name: str, source: str, member: str) -> str:
    """Install a plug-in for one test, as pip would: a module and the metadata with its entry point."""
    (folder / f"{name}_plugin.py").write_text(source, encoding="utf-8")
    info = folder / f"{name}_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[everlearn.domains]\n{name} = {name}_plugin:{member}\n")
    patch.syspath_prepend(str(folder))
    sys.modules.pop(f"{name}_plugin", None)
    return name


def install_passwords(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Install the domain `passwords`."""
    return install(folder, patch, name="passwords", source=PASSWORDS, member="Passwords")
