"""Untrained base models of some kilobytes, as folders that transformers can load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from everlearn.training.base_model.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}


def write_base(path: Path, *, kind: type[LlamaConfig | Qwen2Config] = LlamaConfig, shard: str = "5GB") -> Path:
    """Write an untrained model with the default tokenizer, cut into shards of that size."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = kind(**SMALL, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(path, max_shard_size=shard)
    tokenizer.save_pretrained(path)
    return path
