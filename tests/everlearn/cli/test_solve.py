"""`solve`: every problem gets a verified answer or none, and what was tried is not tried again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError
from everlearn.training import solve_pool, solved_problems
from tests.support.night import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

EASY, HARD = "2*x + cos(x)", "tan(x)"
BASE = ("--version", "base")


@pytest.fixture
def file(params: Path, tmp_path: Path) -> Path:
    """Two problems: one that the base solves, and one of which it was never taught the functions."""
    params.write_text(params.read_text().replace(str(tmp_path / "base"), str(ROOT / "data" / "base")))
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps({"problem": text}) + "\n" for text in (EASY, HARD, EASY)))
    return problems


def test_results_are_verified_kept_and_not_tried_again(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--samples", "2", "--rollouts", "4", "--no-training")
    ended = everlearn(*words, "--json")
    assert ended.code == 1, "one problem has no answer"
    facts = ended.facts
    assert (facts["problems"], facts["solved"], facts["by greedy answer"]) == (2, 1, 1)
    rows = {row["problem"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert rows[HARD]["answer"] is None
    assert rows[HARD]["rollouts"] >= 4
    assert "sin(x)" in rows[EASY]["answer"]
    before = out.read_bytes()
    out.write_bytes(before + b'{"problem": "x", "ke')  # as a kill leaves it
    again = everlearn(*words)
    assert "2 of 2 problems are in" in again.err
    assert out.read_bytes() == before


def test_what_was_solved_with_effort_is_offered_to_the_next_night_once(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path, registry: Registry
) -> None:
    out = tmp_path / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--rollouts", "2", "--no-training", "--offer", "--json")
    assert everlearn(*words).facts["offered"] == 0, "a greedy answer teaches nothing"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    by_samples = [row | {"by": "samples"} if row["answer"] else row for row in rows]
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in by_samples))
    for _ in range(2):
        assert everlearn(*words).facts["offered"] == 1
    [shard] = registry.store.list(f"{registry.line}/inbox/")
    offered = json.loads(registry.store.get(shard.key).data)
    assert offered["problem"] == EASY
    domain = load_domain("integration")
    assert domain.verify(domain.problem(EASY), offered["answer"]).is_correct


def test_a_comparison_stands_beside_each_result(everlearn: Callable[..., Ended], file: Path, tmp_path: Path) -> None:
    file.write_text(json.dumps({"problem": EASY}) + "\n")
    out = tmp_path / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--tokens", "9000")
    ended = everlearn(*words, "--json")
    assert ended.facts["compared"].endswith("solved 1 of 1, best of n 1, both together 1")
    assert ended.facts["cpu_seconds of the comparison"] == 0, "the greedy answer was right"
    solution, compared = map(json.loads, out.read_text().splitlines())
    assert "beside" not in solution
    assert compared["key"] == solution["key"]
    assert compared["beside"]["samples"]["answer"] == compared["answer"] == solution["answer"]
    before = out.read_bytes()
    assert everlearn(*words, "--json").facts["compared"] == ended.facts["compared"]
    assert out.read_bytes() == before


def test_an_error_of_a_comparison_loses_no_solution(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **given: object) -> None:
        raise ModelError("the end token is masked")

    out = tmp_path / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--samples", "1", "--rollouts", "2")
    with monkeypatch.context() as patched:
        patched.setattr(solve_pool, "solve_beside", fail)
        assert "the end token is masked" in everlearn(*words).err
    first = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["problem"], "beside" in row) for row in first] == [(EASY, False), (HARD, False), (EASY, True)]
    again = everlearn(*words, "--json")
    assert "2 of 2 problems are in" in again.err
    *_, last = map(json.loads, out.read_text().splitlines())
    assert last["beside"].keys() == {"samples", "both"}
    assert {name: value for name, value in last.items() if name != "beside"} == first[1], "the solution stays"


def test_results_that_earlier_revisions_compared_are_not_solved_again(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--samples", "1", "--rollouts", "2")
    everlearn(*words, "--no-compare")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    earlier = {row["key"]: f"earlier {row['problem']}" for row in rows}
    keys_of = solved_problems.keys_of

    def known(*args: Any, **given: Any) -> dict[str, tuple[str, str]]:
        return {text: (earlier[key], key) for text, (_, key) in keys_of(*args, **given).items()}

    out.write_text("".join(json.dumps(row | {"key": earlier[row["key"]]}) + "\n" for row in rows))
    before = out.read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(solved_problems, "keys_of", known)
        assert "2 of 2 problems are in" in everlearn(*words, "--no-compare").err
    assert out.read_bytes() == before


@pytest.mark.parametrize("flag", ["--no-compare", "--no-training"])
def test_nothing_is_compared_unless_it_is_wanted(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path, flag: str
) -> None:
    file.write_text(json.dumps({"problem": EASY}) + "\n")
    out = tmp_path / "solved.jsonl"
    assert "compared" not in everlearn("solve", str(file), *BASE, "--out", str(out), flag, "--json").facts
    assert "beside" not in out.read_text()


@pytest.mark.slow
def test_several_processes_share_the_problems(everlearn: Callable[..., Ended], file: Path, tmp_path: Path) -> None:
    out = tmp_path / "solved.jsonl"
    limits = ("--seconds", "600", "--rollouts", "3", "--no-training", "--processes", "2")
    everlearn("solve", str(file), *BASE, "--out", str(out), *limits)
    rows = {row["problem"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert {text: row["answer"] is not None for text, row in rows.items()} == {EASY: True, HARD: False}


def test_a_directory_cannot_take_results(everlearn: Callable[..., Ended], file: Path, tmp_path: Path) -> None:
    for out in (tmp_path, file / "solved.jsonl"):
        ended = everlearn("solve", str(file), *BASE, "--out", str(out))
        assert ended.code == 2
        assert "cannot be a file: name another one with --out" in " ".join(ended.err.split())


def test_a_file_with_something_else_is_not_added_to(everlearn: Callable[..., Ended], file: Path) -> None:
    before = file.read_bytes()
    ended = everlearn("solve", str(file), *BASE, "--out", str(file))
    assert ended.code == 2
    assert "is no result of `everlearn solve`" in ended.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["my notes", '{"a": 1}', "not ours\n", '{"a"'])
def test_a_file_of_somebody_else_is_kept_whatever_its_last_line(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path, text: str
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text(text)
    assert everlearn("solve", str(file), *BASE, "--out", str(out)).code == 2
    assert out.read_text() == text


def test_results_without_their_last_line_break_are_all_kept(
    everlearn: Callable[..., Ended], file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "solved.jsonl"
    words = ("solve", str(file), *BASE, "--out", str(out), "--samples", "1", "--rollouts", "2", "--no-training")
    everlearn(*words)
    before = out.read_text()
    out.write_text(before.rstrip())
    assert "2 of 2 problems are in" in everlearn(*words).err
    assert out.read_text() == before
    out.write_text('{"dom')  # as a kill in the first line leaves it
    everlearn(*words)
    assert len(out.read_text().splitlines()) == 2


def test_a_solved_file_ends_with_zero(everlearn: Callable[..., Ended], file: Path, tmp_path: Path) -> None:
    file.write_text(json.dumps({"problem": EASY}) + "\n")
    ended = everlearn("solve", str(file), *BASE, "--out", str(tmp_path / "solved.jsonl"))
    assert ended.code == 0
    assert "greedy answer" in ended.out
