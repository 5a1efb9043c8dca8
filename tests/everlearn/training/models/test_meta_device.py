"""The update and the decoding of the hub policy on the device `meta`, which has shapes but no data.

Here it stands for a GPU: an operation on a tensor there and one left in main memory is an error. Numbers are tested on
the CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from everlearn.training.engines.hub_decoder import HubDecoder
from everlearn.training.models.hub import HubModel, adapted_modules, add_hooks
from tests.support.tiny_models import FAMILIES

META = torch.device("meta")
PROMPTS, ANSWERS = [[1, 2, 3], [4, 5]], [[1, 2], [3, 4, 5], [6], [7, 8]]


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices. `meta` itself refuses some of them only."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor) and part.dim()]
        found = {str(tensor.device) for tensor in tensors}
        assert len(found) < 2 or "copy" in str(func), f"{func} with tensors on {' and '.join(sorted(found))}"
        return func(*args, **kwargs or {})


class FromMeta(torch.autograd.Function):
    """Log-probabilities arrive in main memory as zeros, and their gradients go back to `meta`."""

    @staticmethod
    def forward(_: Any, scores: torch.Tensor) -> torch.Tensor:
        return torch.zeros(scores.shape)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(gradients[0], device=META)


def in_main_memory(scores: torch.Tensor) -> Any:
    return FromMeta.apply(scores)  # type: ignore[no-untyped-call]


def on_meta(family: str, *, adapter_on: torch.device = META, checkpointing: bool = False) -> HubModel:
    # Eager: with SDPA transformers asks a mask for its values, for which a GPU waits.
    module: Any = AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="eager")
    module.eval().requires_grad_(requires_grad=False)
    shapes = adapted_modules(module)
    add_hooks(module, list(shapes))
    adapter = {
        name: (
            torch.zeros(4, into, device=adapter_on, requires_grad=True),
            torch.zeros(out, 4, device=adapter_on, requires_grad=True),
        )
        for name, (out, into) in shapes.items()
    }
    return HubModel(module.to(META), adapter=adapter, checkpointing=checkpointing)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_update_keeps_everything_but_tokens_and_scores_on_the_device(
    family: str, *, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "cpu", in_main_memory)
    model = on_meta(family, checkpointing=checkpointing)
    with OneDevice():
        scores, real = model.token_logprobs(PROMPTS, ANSWERS, temperature=1.0)
        scores.sum().backward()
    assert scores.shape == real.shape == (4, 3)
    assert (scores.device.type, real.device.type) == ("cpu", "cpu")
    assert {pair.grad.device for pairs in model.adapter.values() for pair in pairs if pair.grad is not None} == {META}


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_stays_on_the_device(family: str) -> None:
    model = on_meta(family)
    with torch.no_grad(), OneDevice():
        decoder = HubDecoder(model, PROMPTS, group=2)
        for step in range(2):
            logits = decoder.advance(torch.zeros(4, dtype=torch.long, device=META), step)
            assert (logits.device, logits.shape) == (META, (4, model.vocabulary))


def test_a_tensor_that_is_left_in_main_memory_is_seen() -> None:
    model = on_meta("llama", adapter_on=torch.device("cpu"))
    with OneDevice(), pytest.raises(AssertionError, match="with tensors on cpu and meta"):
        model.token_logprobs(PROMPTS, ANSWERS, temperature=1.0)
