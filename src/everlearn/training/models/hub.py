"""Causal language models of any architecture: a transformers module, and LoRA added by forward hooks.

The base keeps its dtype and its device, and is neither merged nor copied; gradients exist for A and B only. The adapter
of a call is a context variable and not part of the module, as peft's layers are, so that several policies share one
base, also in several threads: the policy in training, its parent for the divergence, and the snapshot that samples
meanwhile. The layers are those that peft names for `all-linear`.

In the update a prompt is computed once for its group (`forward` with a cache that has gradients), and log-probabilities
come from the last hidden states in chunks. Where memory demands activation checkpointing, each answer is computed with
its prompt instead, since a layer that is run again must not write to a cache again.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from everlearn.training.models.autograd import add_lora, chosen_logprobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from everlearn.training.models.adapter import LoraPair

LOG = logging.getLogger("everlearn.learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One forward pass: the adapter's pairs and scale, and where the last hidden states go (None: all logits)."""

    pairs: Mapping[str, LoraPair]
    scale: float
    checkpointing: bool
    hidden: list[torch.Tensor] | None


_CALL: ContextVar[_Call | None] = ContextVar("_CALL", default=None)


@contextlib.contextmanager
def _active(call: _Call) -> Iterator[None]:
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


def adapted_modules(module: Any) -> dict[str, tuple[int, int]]:
    """Return the layers that get an adapter, in the order of the module, with the shapes (out, in) of their weights.

    peft finds them: all linear layers but the head. It marks them by one LoRA layer of rank 1 each, removed again here.
    It also marks experts that are one tensor a layer: those get none. Nor do the layers for images or sound of a model
    that reads them, too.
    """
    import warnings

    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about GPT-2's layers, whose weights are transposed
        marked: Any = get_peft_model(module, LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM"))
    prefix = "base_model.model."
    found = {
        name.removeprefix(prefix): (int(part.out_features or 0), int(part.in_features or 0))
        for name, part in marked.named_modules()
        if isinstance(part, LoraLayer) and not isinstance(part, ParamWrapper)
    }
    marked.unload()
    text = text_part(module)
    return {name: shape for name, shape in found.items() if name.startswith(text)}


def text_part(module: Any) -> str:
    """Return how the names of the layers for text begin, where a model reads images or sound, too; else nothing."""
    if module.config.get_text_config() is module.config:
        return ""
    return next(f"{name}." for name, part in module.named_modules() if part is module.get_decoder())


def add_hooks(module: Any, targets: Sequence[str]) -> None:
    """Let a module add the adapter of the active call, keep its last hidden states, and recompute layers. Once a module."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    for name in targets:
        module.get_submodule(name).register_forward_hook(partial(_add_adapter, name))
    module.get_output_embeddings().register_forward_pre_hook(_keep_hidden)
    for part in module.modules():
        if isinstance(part, GradientCheckpointingLayer):
            # Not transformers' own checkpointing, which needs training mode and hence dropout.
            part.forward = partial(_run_layer, part.forward)


def _add_adapter(name: str, _: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
    call = _CALL.get()
    if call is None or name not in call.pairs:
        return None
    return add_lora(inputs[0], output, *call.pairs[name], scale=call.scale)


def _keep_hidden(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
    """Keep the head's input and give it the last token only: (rows, tokens, width) -> (rows, 1, width)."""
    call = _CALL.get()
    if call is None or call.hidden is None:
        return None
    call.hidden.append(inputs[0])
    return (inputs[0][:, -1:],)


def _run_layer(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    call = _CALL.get()
    if call is None or not call.checkpointing or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # The layer runs again in the backward pass, perhaps in a thread of autograd: with the adapter of this call.
    contexts = lambda: (contextlib.nullcontext(), _active(call))  # noqa: E731
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, context_fn=contexts, **kwargs)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A module with hooks (`add_hooks`), and the adapter that it uses.

    `adapter` and `scale` are those of `llama.Llama`. With `chunked`, log-probabilities are computed from the last
    hidden states; without, from all logits, because the model changes them after its head (`policy.adapt` finds out).
    """

    module: Any
    adapter: Mapping[str, LoraPair] = field(default_factory=dict)
    scale: float = 1.0
    checkpointing: bool = False
    chunked: bool = True

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The base's weights by name."""
        return {name: tensor.detach() for name, tensor in self.module.named_parameters()}

    @property
    def device(self) -> torch.device:
        """The device of the base."""
        return self.head.device

    @property
    def is_transposed(self) -> bool:
        """Whether the weights of adapted layers are (in, out)."""
        return any(isinstance(part, Conv1D) for part in self.module.modules())

    @property
    def reads_text_only(self) -> bool:
        """Whether all linear layers but the head are for text."""
        return not text_part(self.module)

    @property
    def pad(self) -> int:
        """The padding token; some configs have -1 for none."""
        return max(0, int(getattr(self.module.config, "pad_token_id", None) or 0))

    @property
    def head(self) -> torch.Tensor:
        """(vocabulary, width): the output layer, which may be the embedding."""
        weight: torch.Tensor = self.module.get_output_embeddings().weight
        return weight.detach()

    @property
    def vocabulary(self) -> int:
        """The number of tokens in the vocabulary."""
        return len(self.head)

    def bytes_per_token(self, *, prompt_share: float) -> int:
        """Estimate the bytes that one answer token holds until its backward pass, as `memory_plan.bytes_per_token`.

        Counted for a Llama of that width, whose norms and activations are saved in the base's dtype and in float32;
        other architectures save about as much.
        """
        config, narrow = self.module.config.get_text_config(), self.head.element_size()
        width = config.hidden_size
        inner = getattr(config, "intermediate_size", None) or 4 * width
        layer = width * (6 * 4 + 8 * narrow) + inner * (4 * narrow)
        held, prompt = config.num_hidden_layers * layer, config.num_hidden_layers * 2 * width * narrow
        if self.checkpointing:  # prompts are not shared then
            held, prompt = config.num_hidden_layers * width * narrow + layer, layer
        scores = 4 * width if self.chunked else 12 * self.vocabulary
        return int(held + prompt_share * prompt + scores)

    def run(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        *,
        cache: Any = None,
        use_cache: bool = True,
        hidden: list[torch.Tensor] | None,
    ) -> Any:
        """(rows, tokens), (rows, cached and new tokens) -> transformers' output.

        With a list for `hidden`, the last hidden states are appended to it, and the logits are those of the last token.
        """
        arguments = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            "past_key_values": cache,
            "use_cache": use_cache,
        }
        if "position_ids" not in inspect.signature(self.module.forward).parameters:
            del arguments["position_ids"]  # such models derive positions from the mask
        call = _Call(pairs=self.adapter, scale=self.scale, checkpointing=self.checkpointing, hidden=hidden)
        with _active(call):
            return self.module(**arguments)

    def token_logprobs(
        self, prompts: list[list[int]], answers: list[list[int]], *, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `llama.token_logprobs`, in main memory."""
        times, longest = len(answers) // len(prompts), max(map(len, answers))
        targets = torch.tensor([row + [self.pad] * (longest - len(row)) for row in answers])
        real = torch.arange(longest) < torch.tensor([len(row) for row in answers])[:, None]
        last = torch.tensor([prompt[-1] for prompt in prompts]).repeat_interleave(times)[:, None]
        ids, mask, cache = torch.cat((last, targets[:, :-1]), 1), real.long(), None
        shares = not (self.checkpointing and torch.is_grad_enabled()) and max(map(len, prompts)) > 1
        fronts, seen = pad_left([prompt[:-1] for prompt in prompts], pad=self.pad)
        if shares:
            cache = self.prefix(fronts, seen, times=times)
        else:
            ids = torch.cat((fronts.repeat_interleave(times, dim=0), ids), dim=1)
        mask = torch.cat((seen.repeat_interleave(times, dim=0), mask), dim=1)
        chosen = self._chosen(ids, mask, targets, real, cache=cache, temperature=temperature).cpu()
        return torch.zeros(targets.shape).masked_scatter(real, chosen), real

    def _chosen(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        targets: torch.Tensor,
        real: torch.Tensor,
        *,
        cache: Any,
        temperature: float,
    ) -> torch.Tensor:
        """Return the log-probability of each real target, in one row."""
        device, width = self.device, targets.shape[1]
        hidden: list[torch.Tensor] | None = [] if self.chunked else None
        rows, columns = real.nonzero(
            as_tuple=True
        )  # here, where the mask is: the GPU would wait for how many there are
        here, chosen = (rows.to(device), columns.to(device)), targets[rows, columns].to(device)
        output = self.run(ids.to(device), mask.to(device), cache=cache, use_cache=cache is not None, hidden=hidden)
        if hidden is None:
            logits = output.logits[:, -width:][here].float() / temperature
            return torch.log_softmax(logits, dim=-1).gather(1, chosen[:, None])[:, 0]
        states = hidden[0][:, -width:][here]
        bias = getattr(self.module.get_output_embeddings(), "bias", None)
        return chosen_logprobs(states, self.head, chosen, temperature=temperature, bias=bias)

    def prefix(self, ids: torch.Tensor, mask: torch.Tensor, *, times: int) -> Any:
        """Return a cache of the prompts' keys and values, each prompt `times` times."""
        cache = self.run(ids.to(self.device), mask.to(self.device), hidden=[]).past_key_values
        cache.batch_repeat_interleave(times)
        if hasattr(cache, "marked_last"):  # of marked_llama, a value a row
            cache.marked_last = cache.marked_last.repeat_interleave(times)
        return cache


def pad_left(rows: Sequence[list[int]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists -> (rows, longest), and a mask of the real tokens, as ones."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], dtype=torch.long)
    return ids, (torch.arange(width) >= width - torch.tensor([len(row) for row in rows])[:, None]).long()
