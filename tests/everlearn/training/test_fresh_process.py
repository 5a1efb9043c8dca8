"""The fresh process that compares published bytes with what was trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import torch

from everlearn.domains.contract import load_domain
from everlearn.training.fresh_process import Probe, check, main, probe
from everlearn.training.models.policy import load_policy
from tests.support import chat_models
from tests.support.adapters import shake

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
PROBLEMS = [DOMAIN.problem(statement) for statement in ("3*x^2 - sin(2*x)", "exp(x) + 1/(x+1)", "x*cos(x) - 2*x + 5")]


def write_adapter(base: Path, path: Path, *, size: float) -> Path:
    """Save an adapter whose B matrices are normal with that standard deviation."""
    return shake(load_policy(base, rank=4, alpha=8), seed=1, size=size).save(path)


@pytest.fixture(scope="module")
def adapter(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(shipped, tmp_path_factory.mktemp("trained"), size=0.05)


@pytest.fixture(scope="module")
def probes(shipped: Path, adapter: Path) -> list[Probe]:
    return probe(shipped, adapter, PROBLEMS, domain=DOMAIN, seed=1, threads=1)


def write_probes(path: Path, probes: list[Probe]) -> Path:
    path.write_text("".join(json.dumps(asdict(item)) + "\n" for item in probes))
    return path


@pytest.mark.slow
def test_a_fresh_process_gives_the_answers_of_the_trainer(
    shipped: Path, adapter: Path, probes: list[Probe], tmp_path: Path
) -> None:
    path = write_probes(tmp_path / "probes.jsonl", probes)
    command = [sys.executable, "-m", "everlearn.training.fresh_process", str(shipped), str(adapter), str(path)]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    assert report["same_answers"] == report["probes"] == len(PROBLEMS)
    assert report["worst_gap"] <= 1e-3


def test_generation_defaults_of_the_base_change_no_answer(
    shipped: Path, adapter: Path, probes: list[Probe], tmp_path: Path
) -> None:
    base = shutil.copytree(shipped, tmp_path / "base")
    path = base / "generation_config.json"
    stated = json.loads(path.read_text()) if path.exists() else {}
    defaults = {"repetition_penalty": 1.5, "temperature": 0.7, "do_sample": True, "no_repeat_ngram_size": 2}
    path.write_text(json.dumps(stated | defaults))
    report = check(base, adapter, probes)
    assert report.same_answers == report.probes


def test_an_answer_ends_with_the_tokenizers_end_token_as_well(tmp_path: Path) -> None:
    """Many chat models end a turn with a token that their generation config does not name."""
    base = chat_models.write_model(tmp_path / "base", guesses={"7": 0.9})
    for name, change in (("tokenizer", {"eos_token": "<|end|>"}), ("generation", {"eos_token_id": chat_models.EOS})):
        path = base / f"{name}_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    adapter = write_adapter(base, tmp_path / "adapter", size=0.0)
    lengthy = Probe(prompt=[chat_models.BOS, 20, 21], answer=[30] * 12, logprob=0.0)
    assert check(base, adapter, [lengthy]).length_before == len("7") + 1


def test_damaged_bytes_show_in_the_log_probabilities(shipped: Path, adapter: Path, probes: list[Probe]) -> None:
    shifted = [replace(item, logprob=item.logprob + 2 * len(item.answer)) for item in probes]
    report = check(shipped, adapter, shifted)
    assert report.same_answers == report.probes
    assert report.worst_gap > 1e-3


def test_the_adapter_of_another_training_gives_other_answers(
    shipped: Path, probes: list[Probe], tmp_path: Path
) -> None:
    report = check(shipped, write_adapter(shipped, tmp_path, size=0.5), probes)
    assert report.same_answers < report.probes
    assert report.worst_gap > 1e-3
    assert report.changed
    assert report.finite


def test_an_adapter_without_effect_changes_nothing(shipped: Path, tmp_path: Path) -> None:
    adapter = write_adapter(shipped, tmp_path, size=0.0)
    report = check(shipped, adapter, probe(shipped, adapter, PROBLEMS, domain=DOMAIN, seed=1, threads=1))
    assert not report.changed
    assert report.length_before == report.length_after
    assert report.same_answers == report.probes


def test_the_command_prints_the_report_as_one_line(
    shipped: Path, adapter: Path, probes: list[Probe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(shipped), str(adapter), str(write_probes(tmp_path / "probes.jsonl", probes))])
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == asdict(check(shipped, adapter, probes))


def test_answers_that_differ_are_decoded_as_alone(shipped: Path, probes: list[Probe], tmp_path: Path) -> None:
    """Batches and padding change neither the answers of the base nor those of the adapter."""
    other = write_adapter(shipped, tmp_path, size=0.5)
    together = check(shipped, other, probes)
    alone = [check(shipped, other, [item]) for item in probes]
    assert together.same_answers == sum(report.same_answers for report in alone)
    assert together.worst_gap == pytest.approx(max(report.worst_gap for report in alone), rel=1e-4)
    for length in ("length_before", "length_after"):
        mean = sum(getattr(report, length) for report in alone) / len(alone)
        assert getattr(together, length) == pytest.approx(mean)


def test_one_other_token_is_another_answer(shipped: Path, adapter: Path, probes: list[Probe]) -> None:
    changed = [replace(item, answer=[*item.answer[:-1], item.answer[0]]) for item in probes]
    assert check(shipped, adapter, changed).same_answers == 0
    assert check(shipped, adapter, [*probes, *changed]).same_answers == len(probes)


def test_the_command_uses_the_threads_that_it_is_given(
    shipped: Path, adapter: Path, probes: list[Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    paths = [str(shipped), str(adapter), str(write_probes(tmp_path / "probes.jsonl", probes[:1]))]
    for more in ([], ["cpu"], ["cpu", "3"]):
        main([*paths, *more])
    assert used == [1, 1, 3]


def test_only_an_unreadable_adapter_is_reported_as_one(
    shipped: Path, adapter: Path, probes: list[Probe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_probes(tmp_path / "probes.jsonl", probes)
    cut = shutil.copytree(adapter, tmp_path / "cut")
    (cut / "adapter_model.safetensors").write_bytes(b"\x00" * 20)
    main([str(shipped), str(cut), str(path)])
    assert "failed" in json.loads(capsys.readouterr().out)
    with pytest.raises(OSError, match="nowhere"):
        main([str(tmp_path / "nowhere"), str(adapter), str(path)])
