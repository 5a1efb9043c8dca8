"""Documentation is tested: commands, links, modules and tests that it names exist, and every command is documented."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from everlearn.cli import EPILOG, app
from everlearn.cli.exit_codes import DISK_FULL, EXIT_CODES, NOT_WRITABLE, TABLE
from everlearn.errors import EverlearnError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("data/**/*.md")])
COMMANDS = typer.main.get_group(app).commands
REQUIRED = {
    *("up", "down", "cycle", "ingest", "verify", "ladder", "evaluate", "status", "history"),
    *("show", "pull", "rollback", "report", "doctor", "worker", "approve", "promote", "watch"),
    *("replicas", "fsck", "gc", "deploy", "schedule", "keys", "metrics", "unbar", "init"),
}


def code_in(page: Path) -> str:
    """Return the code on a page: indented blocks, fences and spans."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```.*?^```", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4,}.*$", text, flags=re.MULTILINE)
    return "\n".join([*fences, *indented, *re.findall(r"`[^`\n]+`", text)])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_docs_exist(page: Path) -> None:
    code = code_in(page)
    named = set(re.findall(r"(?:^|[\s`(/\"$])everlearn (?:--?\S+ )*([a-z]+)\b", code)) - {"everlearn"}
    assert named <= set(COMMANDS), f"{page.name} names commands that do not exist"
    made = set(re.findall(r"(?:^|[\s`])make ([a-z-]+)\b", code))
    assert made <= targets(), f"{page.name} names make targets that do not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_docs_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def headings_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    named = {(page.parent / target if target else page, anchor) for target, anchor in links}
    assert not [(other.name, anchor) for other, anchor in named if anchor not in headings_of(other)]


def test_modules_in_docs_exist() -> None:
    for page in PAGES:
        for module in re.findall(r"python -m ([a-z_.]+)", code_in(page)):
            path = ROOT.joinpath(*module.split("."))
            places = (path, ROOT / "src" / path.relative_to(ROOT))
            assert any(place.with_suffix(".py").exists() or place.is_dir() for place in places), f"{page}: {module}"


def test_tests_in_docs_exist() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", written))
    for page in PAGES:
        named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
        assert named <= there, f"{page.name} names tests that do not exist"


def test_all_required_commands_exist() -> None:
    assert set(COMMANDS) >= REQUIRED


def test_the_command_reference_is_current() -> None:
    make = [sys.executable, "-m", "typer", "everlearn.cli", "utils", "docs", "--name", "everlearn"]
    done = subprocess.run(
        [*make, "--title", "The command line"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TERM": "dumb"},
    )
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == done.stdout, "run `make docs`"
    assert set(re.findall(r"^## `everlearn ([a-z]+)`$", done.stdout, flags=re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_help_has_an_example(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert f"everlearn {name}" in (COMMANDS[name].help or "")


def every_command(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the words and the help text of a command and of all below it."""
    yield words, inspect.cleandoc(command.help or "")
    for name, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, (*words, name))


def test_each_example_of_a_help_has_a_line_of_its_own() -> None:
    # Typer removes the indentation of examples, and so joins them, after a paragraph of a single line.
    for words, text in every_command(typer.main.get_group(app)):
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300"}).output
        examples = {line.strip() for line in text.splitlines() if line.strip().startswith(("everlearn ", "cd "))}
        assert examples <= {line.strip() for line in shown.splitlines()}, words


def test_every_exit_code_is_documented_once() -> None:
    kinds = [EverlearnError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    stopped = {128 + each for each in (signal.SIGINT, signal.SIGTERM)}
    codes = {kind.exit_code for kind in kinds} | {DISK_FULL, NOT_WRITABLE, *EXIT_CODES.values(), *stopped}
    documented = [int(code) for code in re.findall(r"^- (\d+) ", EPILOG, flags=re.MULTILINE)]
    assert sorted(documented) == sorted({0, *codes}) == sorted(TABLE)
    for page in PAGES:
        named = re.findall(r"[Ee]xit codes? (\d+)|; (\d+): it ", page.read_text(encoding="utf-8"))
        assert {int(code) for pair in named for code in pair if code} <= set(TABLE), page


def test_suites_in_docs_exist() -> None:
    there = {suite.stem for suite in (ROOT / "data" / "suites").glob("*.jsonl")}
    for page in PAGES:
        named = set(re.findall(r"everlearn evaluate .*--suite ([\w-]+)(?![\w.-])", code_in(page)))
        named |= set(
            re.findall(r"^everlearn evaluate .*--suite ([\w-]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        )
        assert named <= there, f"{page.name} names suites that do not exist"


def test_the_readme_shows_how_to_begin() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40])
    assert {"make cycle", "make test"} <= set(re.findall(r"make [a-z]+", first_screen))
    assert "champion" in first_screen
