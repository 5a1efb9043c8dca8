"""A base model in 4 bits: NF4 by bitsandbytes, as in QLoRA (Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from everlearn.settings import ComputeSettings


def require_quantizer(compute: ComputeSettings) -> None:
    """Raise ModelError if the settings ask for a quantized base and bitsandbytes is not installed."""
    if compute.quantization != "none" and find_spec("bitsandbytes") is None:
        raise ModelError(
            f"compute.quantization is {compute.quantization}, but bitsandbytes is not installed: "
            "pip install -e '.[quantized]' in the checkout, or set compute.quantization to none"
        )


def quantized(compute: ComputeSettings, *, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that quantize a base on its device; none where the settings do not.

    Products are computed in `compute.dtype`, by default in bfloat16.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if compute.quantization == "none":
        return {}
    require_quantizer(compute)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=compute.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32 if compute.dtype == "float32" else torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def place(module: Any, *, device: torch.device) -> Any:
    """Return the module on its device; a quantized one is there since it was read.

    On CPUs with bfloat16 products, bitsandbytes packs a layer's weights at its first call without gradients, for blocks
    of 64 columns and for inference alone. That is switched off: the same layers are trained.
    """
    layers = [part for part in module.modules() if hasattr(part, "support_avx512bf16_for_cpu")]
    for part in layers:
        part.support_avx512bf16_for_cpu = False
    return module if layers else module.to(device)
