"""A policy: a frozen base model with one LoRA adapter (Hu et al. 2021, arXiv 2106.09685).

The adapter is a pair A (rank, in), B (out, rank) in float32 for each adapted layer. Two policies share this interface:

    FastPolicy   plain Llamas on a CPU, by our own forward pass in float32. `snapshot` merges the adapter into new
                 tensors, so that rounding errors do not accumulate
    HubPolicy    any causal language model on any device, by transformers. `snapshot` copies A and B only, and the base
                 is neither copied nor merged

`policy.load_policy` chooses one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from everlearn.training.models.adapter import save_adapter
from everlearn.training.models.precision import round_merged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from everlearn.training.models.adapter import LoraPair
    from everlearn.training.models.hub import HubModel
    from everlearn.training.models.llama import Llama, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(ABC):
    """A forward pass of the unmodified base model, adapter pairs by module name, and the tokenizer.

    `chosen` says which policy this is and why, in one line. `stops` are the tokens that end a completion. `context` is
    how many tokens a prompt and its completion may have together, None where the model does not say.
    """

    base_model: Model
    tokenizer: PreTrainedTokenizerBase
    lora: dict[str, LoraPair]
    rank: int
    alpha: int
    chosen: str = ""
    stops: frozenset[int] = frozenset()
    context: int | None = None

    @property
    def base_weights(self) -> Mapping[str, torch.Tensor]:
        """The base's weights by name."""
        return self.base_model.weights

    @property
    @abstractmethod
    def is_marked(self) -> bool:
        """Whether the model has the demo's architecture, whose positions follow index markers."""

    @abstractmethod
    def snapshot(self, *, bf16: bool = False) -> Model:
        """Return the policy as it is now, without gradients: for decoding, and as reference of the divergence."""

    @abstractmethod
    def trained(self, snapshot: Model, *, checkpointing: bool = False) -> Model:
        """Return the policy with gradients to A and B. `snapshot` was taken since A and B last changed."""

    def parameters(self) -> list[torch.Tensor]:
        """Return the trained tensors: A and B of each module, in a fixed order."""
        return [tensor for name in sorted(self.lora) for tensor in self.lora[name]]

    def save(self, directory: Path) -> Path:
        """Write the adapter in peft's format."""
        model = self.base_model
        kind = {"transposed": model.is_transposed, "short_names": model.reads_text_only}
        return save_adapter(directory, self.lora, rank=self.rank, alpha=self.alpha, **kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastPolicy(Policy):
    """A plain Llama in float32, whose adapter is merged into a copy."""

    base_model: Llama

    @property
    def is_marked(self) -> bool:
        """Whether the positions follow index markers."""
        return self.base_model.shape.markers is not None

    @torch.no_grad()
    def snapshot(self, *, bf16: bool = False) -> Llama:
        """Return base plus adapter as a copy, in float32 or rounded to bfloat16 (`round_merged`)."""
        scale = self.alpha / self.rank
        merged = {f"{name}.weight": pair for name, pair in self.lora.items()}
        weights = {
            name: tensor.bfloat16() if bf16 else tensor
            for name, tensor in self.base_weights.items()
            if name not in merged
        }
        for name, (a, b) in merged.items():
            weight = torch.addmm(self.base_weights[name], b, a, alpha=scale)
            weights[name] = round_merged(weight) if bf16 else weight
        return replace(self.base_model, weights=weights)

    def trained(self, snapshot: Model, *, checkpointing: bool = False) -> Model:
        """Return the merged copy with gradients to A and B, with or without activation checkpointing."""
        return replace(snapshot, adapter=self.lora, scale=self.alpha / self.rank, checkpointing=checkpointing)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPolicy(Policy):
    """A module of transformers in a dtype and on a device of its own, to whose layers the adapter is added."""

    base_model: HubModel

    @property
    def is_marked(self) -> bool:
        """Whether the module is of the architecture whose positions follow index markers."""
        return bool(self.base_model.module.config.model_type == "marked_llama")

    def snapshot(self, *, bf16: bool = False) -> HubModel:  # noqa: ARG002 (the base has the dtype it was loaded in)
        """Return the shared base with copies of A and B."""
        copies = {name: (a.detach().clone(), b.detach().clone()) for name, (a, b) in self.lora.items()}
        return replace(self.base_model, adapter=copies, scale=self.alpha / self.rank)

    def trained(self, snapshot: Model, *, checkpointing: bool = False) -> HubModel:  # noqa: ARG002 (A and B are enough)
        """Return the shared base with A and B themselves."""
        return replace(self.base_model, adapter=self.lora, scale=self.alpha / self.rank, checkpointing=checkpointing)
