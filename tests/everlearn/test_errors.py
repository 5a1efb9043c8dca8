"""The error tree drawn in everlearn.errors against the classes in the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from everlearn import errors

ROOT = Path(__file__).parents[2]
DRAWN = re.compile(r"(?P<indent>[ │├└─]*)(?P<name>\w+Error)\b")


def drawn_parents() -> dict[str, str]:
    """Return the parent of each class in the drawing; four columns are one level."""
    parents, path = {}, ["Exception"]
    for line in str(errors.__doc__).splitlines()[2:]:
        if not line:
            break
        match = DRAWN.match(line)
        assert match is not None, line
        path = [*path[: len(match["indent"]) // 4], match["name"]]
        parents[path[-1]] = path[-2]
    return parents


def defined_parents() -> dict[str, str]:
    """Return the parent of each EverlearnError defined in src, tasks or flows, without importing them."""
    files = [file for folder in ("src", "tasks", "flows") for file in (ROOT / folder).rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    bases = [(node.name, ast.unparse(base).rpartition(".")[2]) for node in classes for base in node.bases]
    parents: dict[str, str] = {}
    while True:
        derived = {name: base for name, base in bases if name == "EverlearnError" or base in parents}
        if derived == parents:
            return parents
        parents = derived


def test_the_drawn_error_tree_is_complete() -> None:
    assert drawn_parents() == defined_parents()
    assert len(defined_parents()) > 15
