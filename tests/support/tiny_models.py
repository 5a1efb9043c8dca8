"""Untrained models of many architectures, two layers of width 32, with the default tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    GemmaConfig,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from everlearn.training.base_model.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PretrainedConfig

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "llama, tied": lambda: LlamaConfig(**GROUPED | {"tie_word_embeddings": True}),
    "llama, scaled rotary": lambda: LlamaConfig(**GROUPED, rope_parameters=SCALED),
    "qwen2, biases": lambda: Qwen2Config(**GROUPED),
    "qwen3, tied": lambda: Qwen3Config(**GROUPED | {"tie_word_embeddings": True}, head_dim=16),
    "gemma, tied": lambda: GemmaConfig(**GROUPED | {"tie_word_embeddings": True}, head_dim=16),
    "gemma2, capped logits": lambda: Gemma2Config(**GROUPED, head_dim=16, final_logit_softcapping=0.5),
    "mistral, sliding window": lambda: MistralConfig(**GROUPED, sliding_window=8),
    "gpt_neox": lambda: GPTNeoXConfig(**SMALL),
    "gpt2, transposed weights": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "phi, bias of the head": lambda: PhiConfig(**SMALL),
    "opt, learned positions": lambda: OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32),
}
OTHERS: dict[str, Callable[[], PretrainedConfig]] = {
    "cohere, layer norms": lambda: CohereConfig(**GROUPED),
    "falcon, sums in place": lambda: FalconConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "gemma3, reads images": lambda: Gemma3Config(
        text_config=GROUPED | {"head_dim": 16, "vocab_size": len(build_tokenizer())},
        vision_config=SMALL | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    ),
    "mixtral, experts": lambda: MixtralConfig(**GROUPED, num_local_experts=4),
}
"""More architectures, for a few tests: each is an exception to what those above have in common."""


def write_model(family: str, path: Path, *, dtype: torch.dtype = torch.float32, shards: bool = False) -> Path:
    """Write a model whose weights, biases included, are random, in one file or in many shards.

    Its generation config has a repetition penalty and two end tokens, as those of Qwen do.
    """
    tokenizer = build_tokenizer()
    config = (FAMILIES | OTHERS)[family]()
    config.vocab_size = len(tokenizer)
    config.pad_token_id, config.eos_token_id, config.bos_token_id = 0, tokenizer.eos_token_id, None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) / 20)
    model.generation_config = GenerationConfig(
        repetition_penalty=1.3, eos_token_id=[tokenizer.eos_token_id, 7], pad_token_id=0
    )
    model.save_pretrained(path, max_shard_size="20kB" if shards else "5GB")
    tokenizer.save_pretrained(path)
    return path
