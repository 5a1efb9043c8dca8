"""Suites in files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.data import rows
from everlearn.data.suites import Suite, SuiteKind, load, load_directory, parse, require_distinct
from everlearn.domains.contract import Domain
from everlearn.errors import BadInputError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class FreeTexts:
    """A domain of any text with any reference."""

    name = "free"

    def problem(self, row: Mapping[str, Any]) -> Problem:
        return Problem(id="", domain=self.name, statement=row["statement"], reference=row.get("reference"))

    def question(self, problem: Problem) -> str:
        return problem.statement

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return Verdict(ruling=Ruling.CORRECT if answer == problem.reference else Ruling.WRONG, reason="")


def problem(statement: str) -> Problem:
    return Problem(id=statement, domain="counting", statement=statement)


SUITE = Suite(name="short", kind=SuiteKind.SKILL, problems=(problem("1*2"), problem("é*3")))


def test_a_saved_suite_is_loaded_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "short.jsonl"
    SUITE.save(path)
    assert load(path) == SUITE
    assert load(path).digest == SUITE.digest
    assert [p.name for p in path.parent.iterdir()] == ["short.jsonl"]


def test_suites_of_other_domains_are_left_out(tmp_path: Path) -> None:
    SUITE.save(tmp_path / "counting.jsonl")
    (tmp_path / "foreign.jsonl").write_text('{"statement": "x", "domain": "other"}\n', encoding="utf-8")
    (tmp_path / "mine.jsonl").write_text('{"statement": "x"}\n', encoding="utf-8")
    loaded = load_directory(tmp_path, domain="counting")
    assert [suite.name for suite in loaded] == ["short", "mine"]
    assert {problem.domain for suite in loaded for problem in suite.problems} == {"counting"}


def test_a_suite_of_two_domains_is_refused_by_name(tmp_path: Path) -> None:
    lines = '{"statement": "x", "domain": "counting"}\n{"statement": "y", "domain": "d"}\n'
    (tmp_path / "mixed.jsonl").write_text(lines, encoding="utf-8")
    assert load_directory(tmp_path, domain="third") == ()
    with pytest.raises(BadInputError, match=r"mixed\.jsonl mixes the domains counting, d"):
        load_directory(tmp_path, domain="counting")


def test_the_digest_covers_name_kind_order_and_problems() -> None:
    suites = [
        Suite(name="long", kind=SuiteKind.SKILL, problems=SUITE.problems),
        Suite(name="short", kind=SuiteKind.TARGET, problems=SUITE.problems),
        Suite(name="short", kind=SuiteKind.SKILL, problems=SUITE.problems[::-1]),
        SUITE,
    ]
    assert len({suite.digest for suite in suites}) == 4


def test_a_file_without_header_gets_name_kind_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('\n{"problem": "x"}\n{"statement": "y", "id": 7, "domain": "d"}\n', encoding="utf-8")
    suite = load(path, domain="integration", kind=SuiteKind.GENERAL)
    assert (suite.name, suite.kind) == ("mine", SuiteKind.GENERAL)
    assert [(p.domain, p.statement) for p in suite.problems] == [("integration", "x"), ("d", "y")]
    assert suite.problems[1].id == "7"
    assert suite.problems[0].id == load(path).problems[0].id


@pytest.mark.parametrize("written", ["null", '""'])
def test_an_item_whose_domain_is_empty_is_of_the_domain_of_the_line(tmp_path: Path, written: str) -> None:
    (tmp_path / "mine.jsonl").write_text(f'{{"statement": "x", "domain": {written}}}\n', encoding="utf-8")
    [suite] = load_directory(tmp_path, domain="counting")
    assert [item.domain for item in suite.problems] == ["counting"]


def test_an_item_may_be_as_long_as_the_longest_row_that_a_night_reads(tmp_path: Path) -> None:
    tests = [f'assert f({number:03}) == "{"a" * 100}"' for number in range(200)]
    row = {"id": "i", "problem": "def f(x): return a text", "reference": [*tests, '"' * 16_000]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    [read] = rows.read(tmp_path, domain="free", load=lambda _: Domain(FreeTexts())).rows
    assert read.fault is None
    assert read.statement is not None
    item = Problem(id="i", domain="free", statement=read.statement, reference=read.reference)
    suite = replace(SUITE, problems=(item,))
    assert parse(suite.to_jsonl(), name="n", where="w") == suite


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no problems"),
        ('{"suite": "s", "kind": "skill"}\n', "holds no problems"),
        ('{"suite": "s", "kind": "other"}\n{"statement": "x"}', "line 1: kind 'other' is none of"),
        ('{"statement": "x"}\nnot json\n', "line 2: the line is no JSON object"),
        ("[1]", "line 1: the line is JSON, but a list and not an object"),
        ('{"suite": "s", "problem": "x"}\n{"suite": "s", "problem": "y"}', "line 1: a header with a problem in it"),
        ('{"statement": "x", "statement": "y"}', "line 1: the key 'statement' occurs twice"),
        ('{"statement": "  "}', "line 1: a problem needs a `problem`"),
        ('{"statement": "\\ud83d"}', "line 1: an escape is half of a character"),
        ('{"statement": 3}', "line 1: a problem needs a `problem`"),
        ('{"statement": "x", "id": "a"}\n{"statement": "y", "id": "a"}', "line 2: the id 'a' was used before"),
        ("[" * 60_000, "line 1: the line is no JSON object"),
    ],
)
def test_an_invalid_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=message):
        load(path)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no suite at .*gone"):
        load(tmp_path / "gone.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="UTF-8"):
        load(tmp_path / "bytes.jsonl")


@pytest.mark.parametrize("kind", list(SuiteKind))
def test_every_kind_of_suite_survives_its_file(tmp_path: Path, kind: SuiteKind) -> None:
    suite = Suite(name="some", kind=kind, problems=SUITE.problems)
    suite.save(tmp_path / "some.jsonl")
    assert load(tmp_path / "some.jsonl") == suite


def test_items_may_declare_a_root_and_others_keep_their_digest(tmp_path: Path) -> None:
    path = tmp_path / "variants.jsonl"
    path.write_text('{"id": "a", "problem": "1*2", "root": "r"}\n{"id": "b", "problem": "2*2"}\n', encoding="utf-8")
    suite = load(path)
    assert [item.root for item in suite.problems] == ["r", None]
    assert "root" not in suite.to_jsonl().splitlines()[2]
    suite.save(path)
    assert load(path) == suite


@pytest.mark.parametrize("root", ["7", '""', '" "', "[]"])
def test_a_root_has_to_be_a_name(tmp_path: Path, root: str) -> None:
    path = tmp_path / "variants.jsonl"
    path.write_text(f'{{"problem": "1*2", "root": {root}}}\n', encoding="utf-8")
    with pytest.raises(BadInputError, match="line 1: `root` is"):
        load(path)


def test_a_reference_is_kept_in_a_suite_and_absent_without_one() -> None:
    text = '{"id": "a", "statement": "x", "reference": 42}\n{"id": "b", "statement": "y"}\n'
    suite = parse(text, name="s", where="s")
    assert [problem.reference for problem in suite.problems] == ["42", None]
    assert parse(suite.to_jsonl(), name="s", where="s") == suite
    assert suite.to_jsonl().count("reference") == 1


@pytest.mark.parametrize("name", ["math/deep", "../x", "", ".hidden", 7, "a" * 101])
def test_a_name_that_is_no_file_name_is_refused(name: object) -> None:
    text = json.dumps({"suite": name, "kind": "skill"}) + '\n{"problem": "x"}\n'
    with pytest.raises(BadInputError, match=r"line 1: .* is no name of a suite"):
        parse(text, name="short", where="short.jsonl")


def test_two_suites_of_one_name_are_refused() -> None:
    suite = parse('{"problem": "x"}\n', name="short", where="short.jsonl")
    require_distinct([suite, replace(suite, name="long")])
    with pytest.raises(BadInputError, match="two suites are named 'short'"):
        require_distinct([suite, suite])
