"""A policy: the frozen base model and one LoRA adapter, as tensors that a forward pass uses.

The base's weights are read once through `AutoModelForCausalLM` and never written. The adapter (Hu et al. 2021,
arXiv 2106.09685) is a pair A (rank, in), B (out, rank) for each linear layer; `merged` adds them to new tensors, so
that rounding errors do not accumulate.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from everlearn.errors import ModelError
from everlearn.training.models.adapter import load_adapter, pair_of, save_adapter
from everlearn.training.models.any_causal_lm import TransformersModel, adapted_modules
from everlearn.training.models.fingerprint import damaged, model_directory
from everlearn.training.models.llama import Llama, Model, geometry, require_known_weights, token_logprobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from everlearn.training.models.adapter import LoraPair

LOG = logging.getLogger("everlearn.learn")
PARITY_TOKENS, PARITY_NATS = 24, 1e-3
"""Tokens on which the two forward passes are compared, and the nats by which they may differ in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The unmodified base model (float32), adapter pairs by module name, and the tokenizer."""

    base_model: Model
    tokenizer: PreTrainedTokenizerBase
    lora: dict[str, LoraPair]
    rank: int
    alpha: int

    @property
    def base_weights(self) -> Mapping[str, torch.Tensor]:
        """The base's weights by name."""
        return self.base_model.weights

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a prompt."""
        return list(self.tokenizer(text).input_ids)

    def decode(self, ids: list[int]) -> str:
        """Return the text of a completion, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @torch.no_grad()
    def snapshot(self, *, bf16: bool = False) -> Model:
        """Return base plus adapter as a copy for decoding, in float32 or rounded to bfloat16."""
        scale = self.alpha / self.rank
        weights = dict(self.base_weights)
        for name, (a, b) in self.lora.items():
            weights[f"{name}.weight"] = torch.addmm(self.base_weights[f"{name}.weight"], b, a, alpha=scale)
        if bf16:
            weights = {name: tensor.bfloat16() for name, tensor in weights.items()}
        return replace(self.base_model, weights=weights)

    def trained(self, merged: Model, *, checkpointing: bool = False) -> Model:
        """Return `merged` with gradients to A and B, with or without activation checkpointing."""
        return replace(merged, adapter=self.lora, scale=self.alpha / self.rank, checkpointing=checkpointing)

    def parameters(self) -> list[torch.Tensor]:
        """Return the trained tensors: A and B of each module, in a fixed order."""
        return [tensor for name in sorted(self.lora) for tensor in self.lora[name]]

    def save(self, directory: Path) -> Path:
        """Write the adapter in peft's format."""
        return save_adapter(directory, self.lora, rank=self.rank, alpha=self.alpha)


def load_policy(base: Path, adapter: Path | None = None, *, rank: int = 16, alpha: int = 32, seed: int = 0) -> Policy:
    """Return the base with the adapter at `adapter`, or with a fresh one of that rank that changes nothing yet.

    Raises:
        ModelError: the base is missing, damaged or without linear layers, or the adapter does not fit it.
    """
    module, tokenizer = _load_base(base)
    base_model = _choose_forward_pass(module, base=base)
    tensors: dict[str, torch.Tensor] = {}
    if adapter is not None:
        config, tensors = load_adapter(adapter)
        rank, alpha = config.r, config.lora_alpha
    generator = torch.Generator().manual_seed(seed)
    lora = {}
    for name in adapted_modules(module):
        out, into = base_model.weights[f"{name}.weight"].shape
        if adapter is None:
            # Kaiming-uniform A and zero B as in peft, but from our own generator: the seed decides every bit.
            bound = 1 / math.sqrt(into)
            a, b = torch.empty(rank, into).uniform_(-bound, bound, generator=generator), torch.zeros(out, rank)
        else:
            a, b = pair_of(tensors, name, shape=(out, into), rank=rank, adapter=adapter)
        lora[name] = (a.requires_grad_(), b.requires_grad_())
    return Policy(base_model=base_model, tokenizer=tokenizer, lora=lora, rank=rank, alpha=alpha)


def _load_base(base: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        module = AutoModelForCausalLM.from_pretrained(model_directory(base), dtype=torch.float32, local_files_only=True)
        return module, AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(base, error) from error


def _choose_forward_pass(module: Any, *, base: Path) -> Model:
    """Return our own forward pass where it agrees with transformers', else transformers'; log which one and why."""
    try:
        weights = {name: tensor.detach() for name, tensor in module.state_dict().items()}
        ours = Llama(weights, geometry(module.config))
        require_known_weights(weights)
        gap = _parity_gap(module, ours)
    except (ModelError, KeyError) as error:
        reason = str(error)
    else:
        if gap <= PARITY_NATS:
            LOG.info("%s: own forward pass, within %.1e nats of transformers", base.name, gap)
            return ours
        reason = f"ours differs by {gap:.2g} nats"
    LOG.warning("%s: transformers' forward pass, several times slower than our own (%s)", base.name, reason)
    weights = {name: tensor.detach() for name, tensor in module.named_parameters()}
    return TransformersModel(weights, module.eval().requires_grad_(requires_grad=False))


@torch.no_grad()
def _parity_gap(module: Any, ours: Llama) -> float:
    """Return the largest difference of the two forward passes in the log-probability of a token, in nats."""
    ids = torch.randint(len(ours.head), (PARITY_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
    scores, _ = token_logprobs(ours, [ids[:4]], [ids[4:]])
    logits = module(input_ids=torch.tensor([ids])).logits[0, 3:-1].float()
    expected = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[4:])[:, None])[:, 0]
    return float((scores[0] - expected).abs().max())
