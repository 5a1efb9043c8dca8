"""`domain new` and `domain check`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.plugins import install

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.everlearn.cli.conftest import Ended

CAPITALS = """
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict


class Capitals:
    name = "capitals"

    def problem(self, row):
        if not row["statement"].isalpha():
            raise GrammarError("a country is one word")
        return Problem(id="", domain=self.name, statement=row["statement"], reference=row.get("reference"))

    def question(self, problem):
        return f"What is the capital of {problem.statement}?"

    def verify(self, problem, answer):
        if problem.reference is None:
            return Verdict(ruling=Ruling.UNDECIDED, reason="the capital is not known")
        right = answer.strip().lower() == problem.reference.lower()
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="compared with the reference")
"""
ROWS = """{"problem": "France", "reference": "Paris", "answer": " paris "}
{"problem": "Peru", "reference": "Lima"}
"""


@pytest.fixture
def capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return install(tmp_path, monkeypatch, name="capitals", source=CAPITALS, member="Capitals")


def test_a_new_domain_is_installed_checked_and_passes_its_tests(
    everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    folder, site = tmp_path / "quiz", tmp_path / "site"
    made = everlearn("domain", "new", "short_answers", "--to", str(folder), "--json")
    assert made.code == 0
    assert all(Path(file).exists() for file in made.facts["files"])
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(folder)], check=True)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    rows = folder / "problems.jsonl"
    command = [
        str(Path(sys.executable).parent / "everlearn"),
        "domain",
        "check",
        "short_answers",
        "--problems",
        str(rows),
    ]
    assert subprocess.run(command, env=environ, check=False, capture_output=True).returncode == 0
    tests = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(tests, env=environ, cwd=folder, check=False, capture_output=True, text=True)
    assert "25 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["Capitals", "two words", "a__b", ""])
def test_a_name_that_cannot_be_one_is_refused(everlearn: Callable[..., Ended], tmp_path: Path, name: str) -> None:
    ended = everlearn("domain", "new", name, "--to", str(tmp_path / "new"))
    assert ended.code == 2
    assert "is no name of a domain" in ended.err
    assert not (tmp_path / "new").exists()


def test_the_name_of_an_installed_domain_is_refused(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("domain", "new", "arithmetic", "--to", str(tmp_path / "new"))
    assert ended.code == 2
    assert "a domain 'arithmetic' is installed already: choose another name" in " ".join(ended.err.split())
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("domain", "new", "capitals", "--to", str(tmp_path))
    assert ended.code == 2
    assert "exists: name another folder" in " ".join(ended.err.split())


def test_a_domain_that_ships_keeps_every_law(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("domain", "check", "arithmetic", "--json")
    assert ended.code == 0
    assert all(law["ok"] for law in ended.facts)


def test_a_domain_of_four_members_is_tried_on_a_file(
    everlearn: Callable[..., Ended], capitals: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(ROWS)
    assert everlearn("domain", "check", capitals, "--problems", str(rows)).code == 0
    rows.write_text(ROWS.replace(" paris ", "Lyon"))
    ended = everlearn("domain", "check", capitals, "--problems", str(rows))
    assert ended.code == 1
    assert "right answers are right" in ended.out
    assert "'Lyon', given as right for 'France', is WRONG" in " ".join(ended.out.split())


def test_answers_are_references_where_the_domain_takes_them(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CAPITALS.replace('name = "capitals"', 'name = "capitals"\n    takes_references = True')
    name = install(tmp_path, monkeypatch, name="capitals", source=source, member="Capitals")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"problem": "France", "answer": "Paris"}')
    assert everlearn("domain", "check", name, "--problems", str(rows)).code == 0, "as a night reads that row"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ('{"problem": "two words"}', "rows.jsonl:1 is no problem of domain capitals: a country is one word"),
        ("[1]", "rows.jsonl:1 is no problem of domain capitals: the line is JSON, but a list and not an object"),
        ('{"answer": 1}', "rows.jsonl:1 is no problem of domain capitals: no text under 'problem' or 'integrand'"),
        (
            '{"problem": "a", "problem": "b"}',
            "rows.jsonl:1 is no problem of domain capitals: the key 'problem' occurs twice",
        ),
        ("{", "rows.jsonl:1 is no problem of domain capitals"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    everlearn: Callable[..., Ended], capitals: str, tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "rows.jsonl").write_text(text)
    ended = everlearn("domain", "check", capitals, "--problems", str(tmp_path / "rows.jsonl"))
    assert ended.code == 2
    assert message in " ".join(ended.err.split())


def test_a_domain_that_generates_nothing_needs_a_file(everlearn: Callable[..., Ended], capitals: str) -> None:
    ended = everlearn("domain", "check", capitals)
    assert ended.code == 2
    assert "name a file of rows with --problems" in " ".join(ended.err.split())


def test_the_list_names_domains_and_the_tasks_of_families(everlearn: Callable[..., Ended]) -> None:
    listed = {fact["name"]: fact["tasks"] for fact in everlearn("domain", "list", "--json").facts}
    assert listed["arithmetic"] == []
    assert "gym/chain_sum" in listed["gym"]
    lines = everlearn("domain", "list").out.splitlines()
    assert {"arithmetic", "integration", "gym/chain_sum"} <= set(lines)
    assert "gym" not in lines, "it is no domain without a task"


def test_the_list_says_which_library_is_missing(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, name="lacking", source="import a_library_that_is_not_there", member="Lacking")
    facts = {fact["name"]: fact for fact in everlearn("domain", "list", "--json").facts}
    assert "No module named" in facts["lacking"]["fault"]
    assert "lacking domain lacking cannot be loaded" in everlearn("domain", "list").out


def test_the_list_names_the_fault_of_a_broken_plug_in_beside_the_others(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, name="broken", source="def problem(:", member="Broken")
    facts = {fact["name"]: fact for fact in everlearn("domain", "list", "--json").facts}
    assert facts["broken"]["fault"].startswith("cannot be loaded: SyntaxError: invalid syntax")
    assert "arithmetic" in facts


def test_a_task_of_a_family_is_checked_by_its_name(everlearn: Callable[..., Ended]) -> None:
    assert everlearn("domain", "check", "gym/chain_sum").code == 0
    ended = everlearn("domain", "check", "gym/nothing")
    assert ended.code == 2
    assert "gym is a family" in ended.err


def test_generated_problems_are_written_as_rows_or_a_suite(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    words = ("domain", "generate", "gym/chain_sum", "--count", "5", "--size", "3")
    ended = everlearn(*words, "--to", str(tmp_path / "rows.jsonl"))
    assert ended.code == 0
    assert "5 problems of gym/chain_sum, such as: num_terms" in ended.out
    [first, *_] = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert first.startswith('{"id": "gym-chain_sum-3-0-0001", "domain": "gym/chain_sum", "problem": "num_terms')
    assert everlearn("domain", "check", "gym/chain_sum", "--problems", str(tmp_path / "rows.jsonl")).code == 0
    ended = everlearn(*words, "--seed", "1", "--suite", "sums", "--to", str(tmp_path / "suite.jsonl"), "--json")
    assert ended.facts["problems"] == 5
    assert (tmp_path / "suite.jsonl").read_text().startswith('{"suite": "sums", "kind": "skill"}\n')


def test_a_domain_without_a_generator_generates_nothing(
    everlearn: Callable[..., Ended], capitals: str, tmp_path: Path
) -> None:
    ended = everlearn("domain", "generate", capitals, "--to", str(tmp_path / "rows.jsonl"))
    assert ended.code == 2
    assert "capitals has no generator" in " ".join(ended.err.split())


@pytest.mark.parametrize("command", ["check", "certify"])
def test_a_file_without_rows_is_refused_by_its_name(
    everlearn: Callable[..., Ended], tmp_path: Path, command: str
) -> None:
    (tmp_path / "empty.jsonl").touch()
    ended = everlearn("domain", command, "arithmetic", "--problems", str(tmp_path / "empty.jsonl"))
    assert (ended.code, f"{tmp_path}/empty.jsonl holds no row" in ended.err) == (2, True)


def test_a_suite_that_no_night_could_read_is_not_written(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    to = tmp_path / "kept.jsonl"
    ended = everlearn("domain", "generate", "arithmetic", "--count", "2", "--suite", "a/b", "--to", str(to))
    assert (ended.code, "'a/b' is no name of a suite" in ended.err, to.exists()) == (2, True, False)
