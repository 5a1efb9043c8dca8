from __future__ import annotations

import json
import sys
from collections import Counter
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli.context import Installation
from everlearn.cli.model import adapter_of
from everlearn.errors import BadInputError, RegistryError
from everlearn.ladder.tree import Ladder, Rung
from everlearn.problem import Measurement, Ruling, Verdict
from tests.support.line import candidate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from everlearn.training.job import GrowthJob
    from tests.everlearn.cli.conftest import Ended

RULINGS = (Ruling.CORRECT, Ruling.WRONG, Ruling.CORRECT, Ruling.UNDECIDED)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the model by one without torch, and record its calls. The real one has slow tests."""
    recorded: list[dict[str, Any]] = []

    def measure(base: Path, adapter: Path | None, problems: Any, **options: Any) -> list[Measurement]:
        recorded.append({"base": base, "adapter": adapter})
        options["progress"](len(problems), len(problems))
        return [
            Measurement(item=each.id, root=each.id, verdict=Verdict(ruling=ruling, reason="seen"), answer="[x]")
            for each, ruling in zip(problems, RULINGS, strict=True)
        ]

    def grow(job: GrowthJob, **options: Any) -> Ladder:
        recorded.append(
            {
                "adapter": job.adapter,
                "roots": [each.statement for each in job.roots],
                "forbidden": job.forbidden,
                "verifiers": job.verifiers,
            }
        )
        options["progress"](1, 2)
        rung = Rung(digest="d", statement=job.roots[0].statement, parent=None, depth=0, move=None, rollouts=4, passed=1)
        return Ladder(rungs={"d": rung}, counts=Counter(root=1))

    for name, function in (("evaluation", measure), ("ladder_growth", grow)):
        module = ModuleType(f"everlearn.training.{name}")
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return recorded


@pytest.fixture
def in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one suite."""
    monkeypatch.chdir(tmp_path)
    suites = tmp_path / "data" / "suites"
    suites.mkdir(parents=True)
    lines = [{"id": f"i{number}", "domain": "integration", "statement": f"{number + 1}*x"} for number in range(4)]
    (suites / "skill.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_versions_of_two_lines_in_one_state_directory_do_not_replace_each_other(
    home: Path, params: Path, registry: Registry, tmp_path: Path
) -> None:
    (other := tmp_path / "other.yaml").write_text(params.read_text().replace(registry.line, f"{registry.line[1:]}.two"))
    held: list[tuple[Path, bytes]] = []
    for path in (params, other):
        installation = Installation(home=home, params=path)
        line = installation.registry()
        line.publish(candidate(line, line.line), make_champion=True, actor="night", reason="improved")
        adapter = adapter_of(installation, version="v0001")
        assert adapter
        held.append((adapter, (adapter / "adapter_model.safetensors").read_bytes()))
    assert held[0][1] != held[1][1]
    assert all((adapter / "adapter_model.safetensors").read_bytes() == data for adapter, data in held)


@pytest.mark.usefixtures("in_project")
def test_evaluate_counts_undecided_answers_separately(
    everlearn: Callable[..., Ended], calls: list[dict[str, Any]]
) -> None:
    facts = everlearn("evaluate", "--version", "base", "--suite", "skill", "--answers", "--json").facts
    assert (facts["n"], facts["correct"], facts["wrong"], facts["undecided"], facts["share"]) == (4, 2, 1, 1, 0.5)
    assert facts["answers"][1] == {"verdict": "WRONG", "item": "i1", "answer": "[x]", "reason": "seen"}
    assert calls[0]["adapter"] is None


@pytest.mark.usefixtures("calls")
def test_evaluate_accepts_a_file_and_prints_a_table(everlearn: Callable[..., Ended], in_project: Path) -> None:
    ended = everlearn(
        "evaluate", "--version", "base", "--suite", str(in_project / "data/suites/skill.jsonl"), "--answers"
    )
    assert "50.0%" in ended.out
    assert "[x]" in ended.out


@pytest.mark.usefixtures("in_project")
def test_evaluate_pulls_and_verifies_the_version(
    everlearn: Callable[..., Ended], publish: Callable[..., str], calls: list[dict[str, Any]]
) -> None:
    publish()
    assert everlearn("evaluate", "--version", "champion", "--suite", "skill").code == 0
    assert (calls[0]["adapter"] / "adapter_model.safetensors").exists()


@pytest.mark.usefixtures("in_project", "calls")
def test_without_a_champion_the_remedy_is_to_name_the_base(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("evaluate", "--version", "champion", "--suite", "skill")
    assert ended.code == RegistryError.exit_code
    assert "has no champion yet: name the base model with `--version base`" in " ".join(ended.err.split())


@pytest.mark.usefixtures("in_project")
def test_an_unknown_suite_is_refused_with_the_known_ones(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("evaluate", "--version", "base", "--suite", "skil")
    assert ended.code == BadInputError.exit_code
    assert "the suites are: skill" in ended.err


def test_ladder_grows_saves_and_prints(
    everlearn: Callable[..., Ended], calls: list[dict[str, Any]], in_project: Path
) -> None:
    problems = in_project / "new.jsonl"
    problems.write_text('{"problem": "sin(x) + x"}\n{"problem": "(("}\n', encoding="utf-8")
    kept = in_project / "ladder.jsonl"
    ended = everlearn("ladder", str(problems), "--out", str(kept))
    assert "1/4  sin(x) + x" in ended.out
    assert calls[0]["roots"] == ["sin(x) + x"]
    assert calls[0]["forbidden"]
    assert calls[0]["verifiers"] == 1, "what a model writes is judged in a process with limits"
    assert everlearn("ladder", str(kept)).out == ended.out
    assert len(calls) == 1
    assert everlearn("ladder", str(kept), "--json").facts["rungs"][0]["digest"] == "d"


def test_ladder_refuses_an_output_that_is_no_file_before_it_grows(
    everlearn: Callable[..., Ended], calls: list[dict[str, Any]], in_project: Path
) -> None:
    problems = in_project / "new.jsonl"
    problems.write_text('{"problem": "sin(x) + x"}\n', encoding="utf-8")
    for out in (in_project, problems / "ladder.jsonl"):
        ended = everlearn("ladder", str(problems), "--out", str(out))
        assert ended.code == BadInputError.exit_code
        assert f"{out} cannot be a file" in ended.err
    assert calls == []
    assert everlearn("ladder", str(problems), "--out", str(in_project / "new" / "ladder.jsonl")).code == 0


def test_ladder_refuses_a_missing_file(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    ended = everlearn("ladder", str(tmp_path / "none.jsonl"))
    assert ended.code == BadInputError.exit_code
    assert "none.jsonl" in ended.err


@pytest.mark.usefixtures("calls")
def test_ladder_needs_a_valid_problem(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"problem": "(("}\n', encoding="utf-8")
    ended = everlearn("ladder", str(tmp_path / "bad.jsonl"))
    assert ended.code == BadInputError.exit_code
    assert "no problem" in ended.err
