"""A policy: the frozen base and one LoRA adapter, as tensors that a forward pass can run.

The base's weights are read once through `AutoModelForCausalLM` and never written. The adapter (Hu et al. 2021,
arXiv 2106.09685) lives as pairs A (rank, in), B (out, rank); `merged` adds them to new tensors, so that nothing
drifts however often it is done. `save` writes what `peft.PeftModel.from_pretrained` loads.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from everlearn.errors import ModelError
from everlearn.training.models.any_causal_lm import TransformersModel, adapted_modules
from everlearn.training.models.fingerprint import damaged, model_directory
from everlearn.training.models.llama import Llama, Model, geometry, token_logprobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger("everlearn.learn")
PROBE, PARITY = 24, 1e-3
"""Tokens on which the two forward passes are compared, and the nats by which they may differ in float32."""
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The base as it is (float32), adapter pairs by module name, and how to read and write tokens."""

    plain: Model
    tokenizer: PreTrainedTokenizerBase
    lora: dict[str, tuple[torch.Tensor, torch.Tensor]]
    rank: int
    alpha: int

    @property
    def base(self) -> Mapping[str, torch.Tensor]:
        """The base's weights."""
        return self.plain.weights

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """A prompt's tokens."""
        return list(self.tokenizer(text).input_ids)

    def decode(self, ids: list[int]) -> str:
        """A completion's text."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @torch.no_grad()
    def merged(self, *, bf16: bool = False) -> Model:
        """Base plus adapter as a copy to decode from, rounded to bfloat16 where speed counts more than the last digit."""
        scale = self.alpha / self.rank
        weights = dict(self.base)
        for name, (a, b) in self.lora.items():
            weights[f"{name}.weight"] = torch.addmm(self.base[f"{name}.weight"], b, a, alpha=scale)
        if bf16:
            weights = {name: tensor.bfloat16() for name, tensor in weights.items()}
        return replace(self.plain, weights=weights)

    def trained(self, merged: Model, *, checkpointing: bool = False) -> Model:
        """That copy with gradients to A and B."""
        return replace(merged, adapter=self.lora, scale=self.alpha / self.rank, checkpointing=checkpointing)

    def parameters(self) -> list[torch.Tensor]:
        """What is trained: A and B of each module, in a fixed order."""
        return [tensor for name in sorted(self.lora) for tensor in self.lora[name]]

    def save(self, directory: Path) -> Path:
        """Write the adapter as `peft` expects it."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name, (a, b) in self.lora.items():
            tensors[f"base_model.model.{name}.lora_A.weight"] = a.detach().contiguous()
            tensors[f"base_model.model.{name}.lora_B.weight"] = b.detach().contiguous()
        (directory / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))  # so a full disk is an OSError
        described = {
            "base_model_name_or_path": None,
            "bias": "none",
            "inference_mode": True,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": sorted({name.rsplit(".", 1)[1] for name in self.lora}),
            "task_type": "CAUSAL_LM",
        }
        (directory / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
        return directory


def load_policy(base: Path, adapter: Path | None = None, *, rank: int = 16, alpha: int = 32, seed: int = 0) -> Policy:
    """The base at `base` with the adapter at `adapter`, or with a fresh one that changes nothing yet.

    Raises:
        ModelError: no such base, one without linear layers, or an adapter made for other shapes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(model_directory(base), dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(base, error) from error
    plain = _forward(model, base=base)
    if adapter is not None:
        described = json.loads((adapter / CONFIG).read_text())
        rank, alpha = described["r"], described["lora_alpha"]
        stored = load_file(adapter / WEIGHTS)
    generator = torch.Generator().manual_seed(seed)
    lora = {}
    for name in adapted_modules(model):
        out, into = plain.weights[f"{name}.weight"].shape
        if adapter is None:
            bound = 1 / math.sqrt(into)
            a = torch.empty(rank, into).uniform_(-bound, bound, generator=generator)
            b = torch.zeros(out, rank)
        else:
            a, b = _pair(stored, name, expected=((rank, into), (out, rank)), adapter=adapter)
        lora[name] = (a.requires_grad_(), b.requires_grad_())
    return Policy(plain=plain, tokenizer=tokenizer, lora=lora, rank=rank, alpha=alpha)


def _forward(module: Any, *, base: Path) -> Model:
    """Our own forward pass, if it computes what transformers' does; else transformers'. The log says which, and why."""
    try:
        ours = Llama({name: tensor.detach() for name, tensor in module.state_dict().items()}, geometry(module.config))
        gap = _probe(module, ours)
    except (ModelError, KeyError) as error:
        why = str(error)
    else:
        if gap <= PARITY:
            LOG.info("%s: own forward pass, within %.1e nats of transformers on %d tokens", base.name, gap, PROBE)
            return ours
        why = f"ours differs by {gap:.2g} nats"
    LOG.warning("%s: transformers' forward pass, several times slower than our own (%s)", base.name, why)
    weights = {name: tensor.detach() for name, tensor in module.named_parameters()}
    return TransformersModel(weights, module.eval().requires_grad_(requires_grad=False))


@torch.no_grad()
def _probe(model: Any, ours: Llama) -> float:
    """The most by which our log-probabilities of a few tokens differ from those of transformers."""
    ids = torch.randint(len(ours.head), (PROBE,), generator=torch.Generator().manual_seed(0)).tolist()
    found, _ = token_logprobs(ours, [ids[:4]], [ids[4:]])
    logits = model(input_ids=torch.tensor([ids])).logits[0, 3:-1].float()
    expected = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[4:])[:, None])[:, 0]
    return float((found[0] - expected).abs().max())


def _pair(
    stored: dict[str, torch.Tensor], name: str, *, expected: tuple[tuple[int, int], tuple[int, int]], adapter: Path
) -> tuple[torch.Tensor, torch.Tensor]:
    pair = [stored.get(f"base_model.model.{name}.lora_{side}.weight") for side in "AB"]
    a, b = pair
    if a is None or b is None or (tuple(a.shape), tuple(b.shape)) != expected:
        message = f"adapter {adapter} does not fit this base at {name}: pull the version that was trained on this base"
        raise ModelError(message)
    return a.float(), b.float()
