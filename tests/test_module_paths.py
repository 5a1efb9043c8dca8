"""Every module path outside an import statement resolves: in configuration, documentation, and strings of the code."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = "everlearn|flows|tasks|bench|tests"
TEXT = {".md", ".yaml", ".yml", ".toml", ".json", ".tf", ""}
PATH = re.compile(rf"(?<![\w./:@-])(?:{PACKAGES})(?:\.\w+)+(?::\w+)?(?![\w-]*[@/])")
IMPORT = re.compile(rf"\bfrom ((?:{PACKAGES})[\w.]*) import (\w+(?:, \w+)*)")
FILE = re.compile(r"(?<![\w./])(?:src/everlearn|flows|tasks|bench|tests)(?:/\w+)*/\w+\.py\b")
# Dotted names of the same form that are no modules: events with their resources, host names, a file, and loggers.
OTHER = re.compile(
    r"everlearn\.(?:night|champion|data\.arrived|line|end|svc|json)\b.*"
    r"|everlearn\.(?:events|learn|metrics|forms|site|store|test)"
)


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if Path(name).suffix in suffixes and (ROOT / name).exists()]


@cache
def defined_names(file: str) -> dict[str, frozenset[str]]:
    """Map each name that a module defines to the names that its class defines.

    The source is parsed, because importing a module could load torch or Prefect.
    """
    names: dict[str, frozenset[str]] = {}
    pending = list(ast.parse(Path(file).read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If | ast.Try):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        elif isinstance(node, ast.ClassDef):
            members = {child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
            names[node.name] = frozenset(members | stored(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = frozenset()
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0]: frozenset() for alias in node.names}
        else:
            names |= dict.fromkeys(stored(node), frozenset())
    return names


def stored(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)}


def source_of(module: str) -> str | None:
    """Return the source file of a module, without importing it; None if there is no such module."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return (spec.origin or "") if spec else None


@cache
def fault(path: str) -> str | None:
    """Return why `package.module`, `package.module.attribute` or `package.module:attribute` does not resolve."""
    module, _, attribute = path.partition(":")
    parts = module.split(".")
    size = max((n for n in range(1, len(parts) + 1) if source_of(".".join(parts[:n])) is not None), default=0)
    found, members = ".".join(parts[:size]), [*parts[size:], *([attribute] if attribute else [])]
    source = source_of(found) if found else None
    if not members or (source and is_defined(members, defined_names(source))):
        return None
    return f"{path}: {found or 'nothing'} has no {'.'.join(members)}"


def is_defined(members: list[str], names: dict[str, frozenset[str]]) -> bool:
    """Return whether a module with `names` has the attribute, or the attribute of a class, that `members` spell."""
    name, *rest = members
    return name in names and (not rest or (len(rest) == 1 and rest[0] in names[name]))


def paths_in(text: str) -> set[str]:
    """Return the module paths in a text, also those in code inside a string."""
    imported = {f"{module}.{name}" for module, names in IMPORT.findall(text) for name in names.split(", ")}
    return imported | {match[0] for match in PATH.finditer(text) if not OTHER.fullmatch(match[0])}


def faults_of(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    missing = [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    return [
        f"{file.relative_to(ROOT)}: {found}" for found in [*filter(None, map(fault, sorted(paths_in(text)))), *missing]
    ]


def configuration() -> list[Path]:
    """Return infra, dvc.yaml, pyproject.toml, Makefile, params.yaml and all documentation but the changelog."""
    history = {"CHANGELOG.md", "LOG.md"}
    return [
        file
        for file in tracked(*TEXT)
        if file.name not in history
        and (file.suffix == ".md" or file.parent == ROOT or file.is_relative_to(ROOT / "infra"))
        and not file.is_relative_to(ROOT / "data")
    ]


@pytest.mark.parametrize("file", configuration(), ids=lambda file: str(file.relative_to(ROOT)))
def test_module_paths_in_configuration_and_documentation_resolve(file: Path) -> None:
    assert faults_of(file) == []


def test_module_paths_in_strings_of_the_code_resolve() -> None:
    faults = []
    for file in set(tracked(".py")) - {Path(__file__)}:  # this file names modules that do not exist, to test the test
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if PATH.fullmatch(text) and not OTHER.fullmatch(text) and (found := fault(text)):
                faults.append(f"{file.relative_to(ROOT)}: {found}")
    assert faults == []


def test_modules_that_are_run_resolve() -> None:
    """`python -m module` in every file, and `"-m", "module"` in Python code."""
    run = re.compile(rf"-m[\"', ]+((?:{PACKAGES})(?:\.\w+)+)")
    for file in [*tracked(".py"), *configuration()]:
        for module in run.findall(file.read_text(encoding="utf-8")):
            assert find_spec(module), f"{file.relative_to(ROOT)} runs {module}, which does not exist"


@pytest.mark.parametrize(
    ("path", "resolves"),
    [
        ("everlearn.cli:main", True),
        ("flows.roll_back.roll_back", True),
        ("everlearn.local.store_probe", True),
        ("everlearn.local.store_probe.is_ready", True),
        ("everlearn.cli:no_such_name", False),
        ("flows.roll_back.no_such_flow", False),
        ("everlearn.local.no_such_module", False),
        ("everlearn.no_such_package.module", False),
    ],
)
def test_a_wrong_path_is_a_fault(path: str, *, resolves: bool) -> None:
    assert (fault(path) is None) is resolves


def test_paths_inside_code_in_a_string_are_found() -> None:
    text = "\"import sys; from everlearn.local.store_probe import is_ready, other; sys.exit(not is_ready('http://x'))\""
    assert {"everlearn.local.store_probe.is_ready", "everlearn.local.store_probe.other"} <= paths_in(text)
