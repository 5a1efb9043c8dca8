"""The commands that the README shows, in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"^(?: {4}|\t)((?:everlearn|make|export|cd) .*)$")


def tour() -> list[str]:
    """Return the command lines of the README's section "Install and start", without their comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Install and start\n", 1)[1].split("\n## ", 1)[0]
    found = (_COMMAND.match(line) for line in section.splitlines())
    return [without_comment(match[1]) for match in found if match]


def without_comment(line: str) -> str:
    """Return a command line without the comment behind it."""
    return re.sub(r"\s+#.*$", "", line)


def words_of(line: str) -> list[str]:
    """Return the arguments of an `everlearn` command line."""
    return shlex.split(line)[1:]


def recipe_of(target: str) -> list[str]:
    """Return the commands of a make target, with the program's name instead of its path."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rule = re.search(rf"(?m)^{target}:.*\n((?:\t.*\n)+)", text)
    assert rule is not None
    return [line.strip().removeprefix("@").replace("$(BIN)/", "") for line in rule[1].splitlines()]
