"""The fingerprint of a base model, and damaged models."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from everlearn.errors import ModelError
from everlearn.training.models.fingerprint import fingerprint, fingerprints

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = save({"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.float32)}, metadata={"format": "np"})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "chat_template.jinja", "tokenizer.json"])
def test_every_file_that_decides_an_answer_changes_it(base: Path, name: str) -> None:
    before = fingerprint(base)
    (base / "README.md").write_text("about it")
    assert fingerprint(base) == before
    (base / name).write_bytes(save({"a": np.zeros(3, np.float32)}) if "tensors" in name else b'{"other": 1}')
    assert fingerprint(base) != before


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer_config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "pytorch_model.bin",
        "model.safetensors.index.json",
    ],
)
def test_files_of_the_second_scheme_leave_the_first_as_it_was(base: Path, name: str) -> None:
    before = fingerprints(base)
    (base / name).write_text("{}")
    after = fingerprints(base)
    assert after[1] == before[1]
    assert after[2] != before[2]


def test_a_missing_model_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json\. Point `base\.path` at a model directory"):
        fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.safetensors", b"", "cut short"),
        ("model.safetensors", WEIGHTS[:20], "cut short"),
        ("model.safetensors", WEIGHTS[:-1], "longer or shorter than its header says"),
        ("model.safetensors", WEIGHTS + b"0", "longer or shorter than its header says"),
        ("model.safetensors", WEIGHTS[:8] + b"?" + WEIGHTS[9:], "damaged"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]", "damaged"),
        ("model.safetensors", (8).to_bytes(8, "little") + json.dumps({"a": 1}).encode(), "damaged"),
        ("config.json", b"{", "damaged"),
        ("tokenizer.json", b"\xff", "damaged"),
    ],
)
def test_a_damaged_file_is_reported_with_the_remedy(base: Path, name: str, content: bytes, reason: str) -> None:
    (base / name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(str(base / name)) + rf".*{reason}.*restore it"):
        fingerprint(base)
