"""Rules of the whole repository: imports, dependencies, lint and type checking, module length."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "huggingface_hub",
    "peft",
    "great_expectations",
    "prefect",
    "dvc",
    "pandas",
    "scipy",
    "sympy",
    "cyclonedx",
    "in_toto_attestation",
)
LIGHT = (
    "everlearn.registry.versions",
    "everlearn.cli",
    "everlearn.settings",
    "everlearn.local.laptop",
    "everlearn.storage.s3",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_imports_follow_the_layers() -> None:
    lint = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("folder", "reason"), [("data", "data/ holds data sets"), ("infra", "infra/ holds configuration")]
)
def test_data_and_infra_hold_no_python(folder: str, reason: str) -> None:
    assert not list((ROOT / folder).rglob("*.py")), reason


def test_tasks_are_declared_in_tasks_and_flows_in_flows() -> None:
    for folder, decorator, elsewhere in (("flows", "@task", "tasks/"), ("tasks", "@flow", "flows/")):
        for file in (ROOT / folder).rglob("*.py"):
            lines = file.read_text(encoding="utf-8").splitlines()
            assert not [line for line in lines if line.startswith(decorator)], (
                f"{file}: move {decorator} to {elsewhere}"
            )


def test_the_lock_pins_every_dependency(project: dict[str, Any]) -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    requirements = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    names = {re.split(r"[^A-Za-z0-9_-]", requirement)[0] for requirement in requirements}
    assert names <= locked
    assert all(line.count("==") == 1 and "+" not in line for line in lines)


def test_the_package_cannot_be_uploaded_by_accident(project: dict[str, Any]) -> None:
    assert "Private :: Do Not Upload" in project["project"]["classifiers"]


def test_every_ignored_lint_rule_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("[tool.ruff.lint]")[1].split("[tool.ruff.lint.flake8-type-checking]")[0]
    rules = [line for line in block.splitlines() if line.strip().startswith('"') and not line.startswith('"')]
    assert len(rules) > 20
    assert not [line for line in rules if "#" not in line]


def test_no_module_is_hidden_from_the_type_checker(project: dict[str, Any]) -> None:
    settings = project["tool"]["mypy"]
    assert settings["strict"]
    assert "exclude" not in settings
    ours = ("everlearn", "tasks", "flows", "bench", "tests")
    assert not [name for rule in settings["overrides"] for name in rule["module"] if name.startswith(ours)]


def test_no_module_is_longer_than_350_lines() -> None:
    long = {
        str(file.relative_to(ROOT)): length
        for folder in ("src", "tasks", "flows")
        for file in (ROOT / folder).rglob("*.py")
        if (length := len(file.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long


def modules() -> list[Path]:
    return [file for folder in ("src/everlearn", "tasks", "flows") for file in (ROOT / folder).rglob("*.py")]


def test_the_top_level_of_everlearn_holds_at_most_eight_modules() -> None:
    assert len(list((ROOT / "src" / "everlearn").glob("*.py"))) <= 8


@pytest.mark.parametrize("package", sorted(file.parent.name for file in modules() if file.name == "__init__.py"))
def test_each_package_states_its_subject(package: str) -> None:
    [file] = [each for each in modules() if each.name == "__init__.py" and each.parent.name == package]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1 or package in {"cli", "settings"}, "a package exports nothing by itself"


def test_a_module_name_recurs_only_as_the_same_verb() -> None:
    places: dict[str, list[str]] = {}
    for file in modules():
        place = file.relative_to(ROOT).parts
        if file.name != "__init__.py" and not ("domains" in place and len(place) > 4):  # members of the domain contract
            places.setdefault(file.stem, []).append("cli" if "cli" in place else place[0])
    verbs = {"cli", "tasks", "flows"}
    recurring = {name: found for name, found in places.items() if len(found) > 1}
    assert not {name: found for name, found in recurring.items() if set(found) - verbs or len(set(found)) < len(found)}


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for file in modules():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert not {name: found for name, found in places.items() if len(found) > 1}
