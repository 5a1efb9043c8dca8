"""Weights on disk: which files hold them, and what is refused before they are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save
from transformers import AutoModelForCausalLM

from everlearn.errors import ModelError
from everlearn.training.models.weight_files import INDEX, SINGLE, read_weight_files
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base", shard="20KB")


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_headers_count_the_parameters_of_transformers(shard: str, tmp_path: Path) -> None:
    base = write_base(tmp_path, shard=shard)
    weights = read_weight_files(base)
    module = AutoModelForCausalLM.from_pretrained(base)
    assert weights.parameters == module.num_parameters()
    assert weights.dtypes == ("F32",)
    assert weights.size == 4 * weights.parameters
    assert (len(weights.files) > 1) == (shard == "20KB") == (base / INDEX).is_file()


def test_the_type_of_most_bytes_comes_first(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {"a": np.ones(3, np.float32), "b": np.ones(100, np.float16), "c": np.ones(1, np.float32)}
    (tmp_path / SINGLE).write_bytes(save(tensors))
    assert read_weight_files(tmp_path).dtypes == ("F16", "F32")


def test_a_missing_shard_is_named(sharded: Path) -> None:
    *_, last = sorted(sharded.glob("model-*.safetensors"))
    last.unlink()
    with pytest.raises(ModelError, match=rf"incomplete: 1 of \d+ files .*{last.name}; download the model again"):
        read_weight_files(sharded)


def test_a_shard_without_its_tensor_is_named(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_bytes())
    name = next(iter(index["weight_map"].values()))
    index["weight_map"]["model.extra"] = name
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match=rf"{name} is damaged .*says that it holds model\.extra"):
        read_weight_files(sharded)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}'])
def test_a_damaged_index_is_reported(content: str, sharded: Path) -> None:
    (sharded / INDEX).write_text(content)
    with pytest.raises(ModelError, match=rf"{INDEX} is damaged .*restore it"):
        read_weight_files(sharded)


def test_a_cut_shard_is_reported(sharded: Path) -> None:
    first = min(sharded.glob("model-*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(ModelError, match=rf"{first.name} is damaged .*longer or shorter"):
        read_weight_files(sharded)


def test_an_endless_header_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / SINGLE).open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(300_000_000)
    with pytest.raises(ModelError, match="its header has 200,000,000 bytes"):
        read_weight_files(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "flax_model.msgpack"])
def test_pickles_alone_are_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=rf"only as {name}, a format that can run code .*name a revision with safet"):
        read_weight_files(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    for base in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match=r"has no weights .*download the model again"):
            read_weight_files(base)
