"""The table of memory by model: its parameters are the published ones, and the page has what the estimate says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import model_sizes

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
PUBLISHED = {"Qwen2.5-0.5B": 0.49, "Qwen2.5-1.5B": 1.54, "Qwen2.5-3B": 3.09, "Qwen2.5-7B": 7.61, "Llama-3.2-1B": 1.24}


def test_the_page_has_the_table_of_the_present_estimate() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert model_sizes.with_table(page) == page, "run `python -m bench.model_sizes`"


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_a_model_has_the_published_number_of_parameters(name: str, billions: float) -> None:
    assert model_sizes.estimates(name)[0] / 1e9 == pytest.approx(billions, abs=0.01)


def test_the_json_has_the_larger_of_training_and_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "models.md"
    page.write_text("before\n<!-- bench.model_sizes -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(model_sizes, "PAGE", page)
    model_sizes.main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith(f"{model_sizes.table()}<!-- end -->\nafter\n")
    _, plain, quantized = model_sizes.estimates("Qwen2.5-7B")
    assert found["Qwen2.5-7B"]["bfloat16"] == plain.proof > plain.training
    assert found["Qwen2.5-7B"]["nf4"] == quantized.training
