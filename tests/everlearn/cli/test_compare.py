"""`compare`: an adapter beside examples in the prompt of its parent, from what the night of the version has left in the bucket."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.workspace import Workspace
from everlearn.data.suites import Suite, SuiteKind
from everlearn.domains.contract import load_domain
from everlearn.registry.manifest import Manifest
from everlearn.training import in_context
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.policy import load_policy
from tests.support.night import LONG, ROOT, SHORT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from everlearn.registry.versions import Registry
    from tests.everlearn.cli.conftest import Ended

DOMAIN = load_domain("integration")


@pytest.fixture
def version(registry: Registry, params: Path, tmp_path: Path) -> str:
    """A published version with a real adapter; its night solved a dozen problems and had a target of four."""
    base = ROOT / "data" / "base"
    params.write_text(params.read_text().replace(str(tmp_path / "base"), str(base)))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    load_policy(base).save(adapter)
    manifest = Manifest(
        files={path.name: registry.put_file(path) for path in adapter.iterdir()},
        base_fingerprint=fingerprint(base),
        parent=None,
        cycle_key="a" * 64,
        data_digest="a" * 64,
        config={},
        code_version="0.1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        metrics={"cpu_seconds/train": 120.0, "seconds/train": 60.0},
    )
    name = registry.publish(manifest, make_champion=True, actor="night", reason="improved").version
    work = Workspace(registry.store, registry.line, "a" * 64, token=1)
    rows = [{"statement": text, "answer": DOMAIN.solve(DOMAIN.stated(text))} for text in SHORT]
    work.put("rewarded", "".join(json.dumps(row) + "\n" for row in rows).encode())
    problems = tuple(replace(DOMAIN.stated(text), id=f"t{at}") for at, text in enumerate(LONG[:4]))
    (tmp_path / "suites").mkdir()
    Suite(name="target", kind=SuiteKind.TARGET, problems=problems).save(tmp_path / "suites" / "target.jsonl")
    work.put_tree("suites", tmp_path / "suites")
    return name


def test_weights_stand_beside_each_number_of_examples(everlearn: Callable[..., Ended], version: str) -> None:
    ended = everlearn("compare", version, "--examples", "3", "--examples", "40", "--json")
    assert ended.code == 0, ended.err
    facts = ended.facts
    rows = [(row["policy"], row["examples"], row["choice"]) for row in facts["rows"]]
    assert rows == [("base", 0, "none"), ("base", 3, "random"), ("base", 3, "similar"), (version, 0, "none")]
    assert facts["rows"][0]["right"] == facts["rows"][-1]["right"], "a fresh adapter changes nothing"
    assert facts["night_cpu_seconds"] == 120
    assert "not measured: 40 examples" in ended.err
    assert facts["notes"][0].startswith("Context or weights, on the target: ")
    shown = everlearn("compare", "champion", "--examples", "3").out
    assert "prompt tokens" in shown
    assert "Context or weights" in shown


def test_the_last_numbers_of_examples_are_the_largest_that_fit(everlearn: Callable[..., Ended], version: str) -> None:
    rows = everlearn("compare", version, "--up-to-window", "--json").facts["rows"]
    *asked, of_random, of_similar, weights = rows
    assert {row["examples"] for row in asked} == {0, 1, 4}
    assert all(row["is_largest"] and row["examples"] > 4 for row in (of_random, of_similar))
    assert (of_random["choice"], of_similar["choice"], weights["policy"]) == ("random", "similar", version)
    assert "the most" in everlearn("compare", version, "--up-to-window", "--examples", "1").out
    usual = everlearn("compare", version, "--json").facts["rows"]
    assert [row["examples"] for row in usual] == [row["examples"] for row in (*asked, weights)], "only when asked for"
    assert not any(row["is_largest"] for row in usual)


def test_a_window_without_room_for_a_whole_answer_leaves_out_examples_alone(
    everlearn: Callable[..., Ended], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_context, "context_of", lambda _: 20)
    ended = everlearn("compare", version, "--examples", "1", "--json")
    assert ended.code == 0, ended.err
    assert [(row["policy"], row["examples"]) for row in ended.facts["rows"]] == [("base", 0), (version, 0)]
    assert "not measured: 1 examples" in ended.err


def test_a_version_of_another_base_model_is_not_compared(
    everlearn: Callable[..., Ended], version: str, params: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "data" / "base", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    params.write_text(params.read_text().replace(str(ROOT / "data" / "base"), str(other)))
    ended = everlearn("compare", version, "--examples", "1")
    assert ended.code != 0
    assert f"are not those that {version} was trained on: restore them, or set base.path" in ended.err


def test_a_suite_may_be_a_file(everlearn: Callable[..., Ended], version: str, tmp_path: Path) -> None:
    suite = tmp_path / "mine.jsonl"
    suite.write_text('{"id": "one", "statement": "2*x"}\n')
    facts = everlearn("compare", version, "--suite", str(suite), "--examples", "1", "--json").facts
    assert all(len(row["right"]) == 1 for row in facts["rows"])
    assert facts["notes"][0].startswith(f"Context or weights, on {suite}: ")
    assert everlearn("compare", version, "--suite", "nothing").code == 2


def test_a_version_whose_workspace_is_gone_is_refused_with_the_reason(
    everlearn: Callable[..., Ended], publish: Callable[..., str]
) -> None:
    ended = everlearn("compare", publish())
    assert ended.code == 2
    assert "garbage collection removed its workspace" in ended.err
