"""Read and write LoRA adapters in peft's format: `adapter_model.safetensors` and `adapter_config.json`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from everlearn.errors import ModelError
from everlearn.registry.adapter_settings import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from peft import LoraConfig

    LoraPair = tuple[torch.Tensor, torch.Tensor]

DTYPES = {torch.int64: "I64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
"""Names of types in safetensors files, in the order in which the format stores them, for alignment."""
UNSUPPORTED = ("alpha_pattern", "rank_pattern", "use_dora", "use_rslora")
"""Settings of peft under which an adapter is more than `lora_alpha / r * B @ A`."""


def save_adapter(
    directory: Path,
    lora: Mapping[str, LoraPair],
    *,
    rank: int,
    alpha: int,
    transposed: bool = False,
    short_names: bool = True,
) -> Path:
    """Write A and B of each module, and the settings that `peft.PeftModel.from_pretrained` needs.

    `transposed` says that the base's weights are (in, out), as GPT-2's are, and `short_names` that every layer called
    as an adapted one is (`q_proj`) has an adapter: else the settings name each layer by its path.

    Raises:
        OSError: the disk is full, or the directory cannot be written.
    """
    from peft import LoraConfig

    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in lora.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.detach().contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.detach().contiguous()
    # safetensors' own save_file reports a full disk by an error of its own instead of OSError.
    (directory / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    config = LoraConfig(r=rank, lora_alpha=alpha, task_type="CAUSAL_LM", inference_mode=True)
    config.fan_in_fan_out = transposed
    # A list, since peft writes a set in an order that differs from process to process: equal adapters, equal bytes.
    config.target_modules = sorted({name.rsplit(".", 1)[1] if short_names else name for name in lora})
    config.save_pretrained(str(directory))
    return directory


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file, one tensor at a time: at most one is copied in memory, from another device or layout.

    The bytes are those of `safetensors.torch.save`.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    types = list(DTYPES)
    order = sorted(tensors, key=lambda name: (types.index(tensors[name].dtype), name))
    header, end = dict[str, object](), 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        kind, shape = DTYPES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            whole = tensors[name].detach().cpu().contiguous()
            file.write(whole.view(-1).view(torch.uint8).numpy().data)


def load_adapter(directory: Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """Return the settings and the tensors of an adapter.

    Raises:
        ModelError: the weights are missing, or the adapter is not plain LoRA.
    """
    from peft import LoraConfig, load_peft_weights

    if not (directory / WEIGHTS).is_file():  # peft would look for a pickle next, then on the model hub
        raise ModelError(f"adapter {directory} has no {WEIGHTS}: pull the version again")
    config = LoraConfig.from_pretrained(str(directory))
    if not isinstance(config, LoraConfig):
        raise ModelError(
            f"adapter {directory} is of type {config.peft_type.value}: only LORA can be trained and served"
        )
    unsupported = [name for name in UNSUPPORTED if getattr(config, name)]
    if unsupported:
        raise ModelError(
            f"adapter {directory} sets {', '.join(unsupported)}: only plain LoRA can be trained and served"
        )
    return config, load_peft_weights(str(directory), device="cpu")


def pair_of(
    tensors: Mapping[str, torch.Tensor], module: str, *, shape: tuple[int, int], rank: int, adapter: Path
) -> LoraPair:
    """Return A (rank, in) and B (out, rank) of a module whose weight has the shape (out, in), in float32.

    Raises:
        ModelError: the adapter was made for other modules or shapes.
    """
    a, b = (tensors.get(f"base_model.model.{module}.lora_{side}.weight") for side in "AB")
    expected = ((rank, shape[1]), (shape[0], rank))
    if a is None or b is None or (tuple(a.shape), tuple(b.shape)) != expected:
        message = (
            f"adapter {adapter} does not fit this base at {module}: pull the version that was trained on this base"
        )
        raise ModelError(message)
    return a.float(), b.float()
