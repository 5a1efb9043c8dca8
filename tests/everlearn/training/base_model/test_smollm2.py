"""Unpacking the packaged language model, on a tiny model in the same file format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import torch

from everlearn.errors import BadInputError
from everlearn.training.base_model import smollm2
from everlearn.training.models.policy import load_policy
from tests.support.tokens import tokens_of

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, INNER, HEADS = 32, 64, 2
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *map(chr, range(33, 127)), "ab"]


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Llama of one layer with 4-bit weights, in place of the packaged file."""
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(TOKENS), WIDTH),
        **{f"blk.0.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")},
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=np.float32)
        data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setattr(smollm2, "packaged_file", lambda: file)
    return file


def test_unpacked_weights_are_those_of_the_file(packed: Path, tmp_path: Path) -> None:
    directory = smollm2.unpack(tmp_path / "models" / "tiny")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(packed).tensors}["blk.0.ffn_up.weight"]
    expected = torch.from_numpy(gguf.quants.dequantize(stored.data, stored.tensor_type)).bfloat16().float()
    policy = load_policy(directory)
    assert torch.equal(policy.base_weights["model.layers.0.mlp.up_proj.weight"].float(), expected)
    read = str(policy.tokenizer.decode(tokens_of(policy, "12+3="), skip_special_tokens=True))
    assert read.replace(" ", "") == "12+3="


def test_an_unpacked_model_is_not_written_again(packed: Path, tmp_path: Path) -> None:
    directory = smollm2.unpack(tmp_path / "tiny")
    before = (directory / "model.safetensors").stat().st_mtime_ns
    packed.unlink()
    assert smollm2.unpack(directory) == directory
    assert (directory / "model.safetensors").stat().st_mtime_ns == before


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no-such-package")
    with pytest.raises(BadInputError, match="no-such-package is not installed: run `pip install"):
        smollm2.packaged_file()


def test_a_package_without_a_model_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "pytest")
    with pytest.raises(BadInputError, match=r"pytest contains no \.gguf file"):
        smollm2.packaged_file()
