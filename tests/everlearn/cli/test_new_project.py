"""`everlearn init` makes a project that needs this repository no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli import new_project
from everlearn.cli.new_project import ProjectChoices, make_project, next_steps, starter_files
from everlearn.errors import BadInputError, ModelError
from everlearn.settings import load
from tests.support.tiny_models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.everlearn.cli.conftest import Ended

ROOT = Path(__file__).parents[3]
TINY = {
    "EVERLEARN_INGEST__MIN_TARGET_ITEMS": "8",
    "EVERLEARN_LADDER": "{rungs: 6, depth: 1, breadth: 6, rollouts: 2}",
    "EVERLEARN_LEARN": "{steps: 2, prompts: 4, group: 2, rank: 2, checkpoint_every: 1}",
}
"""A night of seconds. Its verdict says nothing."""


def test_a_new_project_has_the_demo_and_the_default_settings(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    directory = tmp_path / "a" / "demo"
    facts = everlearn("init", str(directory), "--line", "sums", "--json").facts
    assert facts["project"] == str(directory)
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert there == set(facts["written"])
    assert {
        "params.yaml",
        ".gitignore",
        "data/base/config.json",
        "examples/monday.jsonl",
        "infra/prefect.yaml",
    } <= there
    made, ours = load(directory / "params.yaml", environ={}), load(ROOT / "params.yaml", environ={})
    assert made.store.line == "sums"
    assert made.model_copy(update={"store": ours.store}).model_dump() == ours.model_dump()
    assert made.base_directory == directory / "data" / "base"
    assert ".everlearn/" in (directory / ".gitignore").read_text(encoding="utf-8")
    assert "cycle --data examples" in everlearn("init", str(tmp_path / "b")).out


def test_a_directory_with_files_is_refused_unless_forced(everlearn: Callable[..., Ended], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "params.yaml").write_text("threads: 2\n", encoding="utf-8")
    ended = everlearn("init", str(mine))
    assert (ended.code, f"{mine} is not empty" in ended.err) == (BadInputError.exit_code, True)
    assert [each.name for each in mine.iterdir()] == ["params.yaml"]
    ended = everlearn("init", str(mine), "--force")
    assert "kept as it was: params.yaml" in ended.out
    assert (mine / "params.yaml").read_text(encoding="utf-8") == "threads: 2\n"
    assert (mine / "data" / "base" / "config.json").is_file()


def test_a_project_can_use_a_base_model_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = write_model("llama", Path('a "base": 1'))
    weights = (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        make_project(Path("p"), ProjectChoices(base=base), force=False)
    assert not Path("p").exists(), "what each night would refuse is refused at once"
    weights.rename(base / "model.safetensors")
    made = make_project(Path("p"), ProjectChoices(base=base), force=False)
    assert not [name for name in made.written if name.startswith("data/base")]
    assert load(Path("p/params.yaml"), environ={}).base_directory == base.absolute()


def test_a_project_for_a_language_model_and_another_domain_has_their_settings_and_nothing_of_the_demo(
    everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = everlearn("init", str(tmp_path / "mine"), "--model", "Qwen/Qwen2.5-1.5B-Instruct", "--domain", "arithmetic")
    assert (ended.code, "everlearn domain generate arithmetic" in ended.out) == (0, True)
    settings = load(tmp_path / "mine/params.yaml", environ={})
    assert (settings.base.model, settings.domain, settings.store.line) == (
        "Qwen/Qwen2.5-1.5B-Instruct",
        "arithmetic",
        "arithmetic",
    )
    assert (settings.format.name, settings.learn.rate, settings.learn.max_kl) == ("chat", 4e-4, 20)
    there = {str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert there == {
        ".gitignore",
        "params.yaml",
        "data/general/requests.jsonl",
        *(f"infra/{name}.yaml" for name in ("prefect", "automations", "notifications")),
    }


def test_only_a_night_of_the_demos_own_model_is_said_to_take_minutes() -> None:
    demo, other = (next_steps(Path("p"), ProjectChoices(model=model)) for model in (None, "a/b"))
    assert "in minutes" in demo[0]
    assert "how long it takes depends on model and machine" in other[0]
    assert other[1].endswith("everlearn doctor && everlearn cycle --data examples")
    assert next_steps(Path("my project"), ProjectChoices())[1].startswith("  cd 'my project' && ")


def test_the_rows_and_the_suite_that_are_typed_next_can_be_generated(
    everlearn: Callable[..., Ended], tmp_path: Path
) -> None:
    steps = next_steps(tmp_path, ProjectChoices(domain="arithmetic", model="a/b"))
    written = [step.partition("&& everlearn ")[2].split() for step in steps if "domain generate" in step]
    for *words, to in written:
        assert everlearn(*words, str(tmp_path / Path(to).name)).code == 0
    assert len(written) == 2


def test_a_domain_without_a_generator_is_shown_the_rows_that_it_reads() -> None:
    steps = "\n".join(next_steps(Path("p"), ProjectChoices(domain="numbers", model="a/b")))
    assert '{"problem": "…", "answer": "…"}' in steps
    assert "domain generate" not in steps


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"line": "My Line"}, "cannot name a line"),
        ({"model": "https://hub/of/models"}, "is no name on the Hugging Face hub"),
        ({"model": "a/b", "base": Path("c")}, "give one of them"),
        ({"domain": "arithmetic"}, "answers no problems of arithmetic: name one with --model"),
    ],
)
def test_choices_that_cannot_be_are_refused_with_the_remedy(choices: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInputError, match=why):
        ProjectChoices(**choices)


@pytest.mark.parametrize(
    ("directory", "choices", "why"),
    [
        ("file", ProjectChoices(), "is a file"),
        ("p", ProjectChoices(model="a/b", domain="arithmetics"), "arithmetic"),
    ],
)
def test_a_project_that_cannot_be_made_changes_nothing(
    tmp_path: Path, directory: str, choices: ProjectChoices, why: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match=why):
        make_project(tmp_path / directory, choices, force=False)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_an_installed_wheel_has_the_files_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert starter_files() == ROOT
    monkeypatch.setattr(new_project, "CHECKOUT", tmp_path / "none")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(BadInputError, match="neither in"):
        starter_files()
    build(tmp_path)
    assert starter_files() == tmp_path / "share" / "everlearn"
    assert make_project(tmp_path / "p", ProjectChoices(), force=False).kept == ()


@pytest.mark.parametrize("line", ["2024", "on", "1.5", "a-1"])
def test_the_name_of_a_line_is_read_as_it_was_given(tmp_path: Path, line: str) -> None:
    make_project(tmp_path / "p", ProjectChoices(line=line), force=False)
    assert load(tmp_path / "p/params.yaml", environ={}).store.line == line


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("store:\n  bucket: everlearn\n  line: integration\n", "store: {bucket: b, line: theirs}\n", "store.line"),
        ("base:\n  path: data/base\n", "base: {model: a/b}\n", "base"),
        ("threads: 1\n\n", "learn: {rate: 1.0e-4}\n", "domain, store.line, base"),
    ],
)
def test_a_checkout_whose_settings_were_changed_makes_no_project_of_another_line_or_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, wrong: str
) -> None:
    source = tmp_path / "checkout"
    source.mkdir()
    for name in ("data", "infra"):
        (source / name).symlink_to(ROOT / name)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert before in text
    (source / "params.yaml").write_text(text.replace(before, after), encoding="utf-8")
    monkeypatch.setattr(new_project, "CHECKOUT", source)
    with pytest.raises(BadInputError, match=f"was changed, so that {wrong} cannot be set"):
        make_project(tmp_path / "p", ProjectChoices(model="c/d", line="mine"), force=False)
    assert not (tmp_path / "p").exists()


def test_a_folder_whose_name_is_no_plain_yaml_is_quoted(tmp_path: Path) -> None:
    text = new_project.params_text("base:\n  path: data/base\n", ProjectChoices(base=Path("/a: [b")), in_words=False)
    assert text == 'base:\n  path: "/a: [b"\n'


def build(prefix: Path) -> None:
    """Copy what pyproject.toml puts into the wheel to where pip installs it."""
    import shutil
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for source, target in project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"].items():
        place = prefix / target
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)


def run(words: str, *, at: Path) -> Any:
    """Run the command in a process of its own, outside the repository, and return its JSON."""
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "AWS_", "PREFECT_"))
    }
    environ = plain | TINY | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", "from everlearn.cli import main; main()", *words.split()]
    done = subprocess.run(command, cwd=at, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode in {0, 10, 11}, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]) if "--json" in words else done.stdout


@pytest.mark.slow
def test_a_new_project_runs_a_night_outside_the_repository(tmp_path: Path) -> None:
    run("init p", at=tmp_path)
    project = tmp_path / "p"
    try:
        ended = run("cycle --data examples --json", at=project)
        assert ended["end"] in {"PUBLISHED", "REJECTED", "INSUFFICIENT"}
        assert run("history --json", at=project)[0]["cycle_key"] == ended["cycle_key"]
        run(f"report {ended['cycle_key'][:8]} --to night.html", at=project)
        assert "<html" in (project / "night.html").read_text(encoding="utf-8")
        assert run(f"--params {project}/params.yaml status --json", at=tmp_path)["line"] == "integration"
    finally:
        run("down", at=project)
    assert not (tmp_path / ".everlearn").exists()
