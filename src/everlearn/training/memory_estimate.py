"""Memory that a night needs for its model, estimated from the headers of the weights, and the memory that there is.

Counted for the training: the base, copies of its linear layers with the adapter added (fast policy), the adapter with
gradients and the states of AdamW, and keys and values while a step is sampled. The activations of an update are not:
`learn.memory_gib` limits them, and smaller batches are always possible. Counted for the proof at the end of the night:
the base in float32, as `fresh_process` loads it, the adapter twice, and keys and values of the probes. The night needs
the larger of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from everlearn.settings import Settings
    from everlearn.training.models.weight_files import WeightFiles

GIB = 1 << 30
COPIES = 2
"""Copies of the linear layers beside the base: the policy at the start, and the current one."""
ADAPTER_BYTES = 4 * 5
"""Float32 bytes a weight of the adapter: itself, its gradient, two states of AdamW, the newest good value."""
BYTES = {"float32": 4, "bfloat16": 2}
NF4_BYTES = 0.52
"""Bytes a quantized weight: 4 bits, and its share of the scales, which are quantized too."""
NOT_ADAPTED = ("embed", "lm_head", "wte", "wpe")
"""Parts of the names of matrices that get no adapter: embeddings and heads."""
ANSWER_TOKENS = 128
"""Tokens of a prompt and its answer for which keys and values are counted, unless `format.max_tokens` is more."""
DECODE_GIB = 4.0
"""Keys and values of answers that are decoded at once, on a CPU: more are decoded one batch after another (`memory_plan`)."""
PROBES = 72
"""Most answers of the proof, unless there are many suites (`tasks.measure`)."""
VLLM_CPU_CACHE = GIB
"""Bytes of keys and values that vLLM keeps on a CPU."""
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes of a training: the base, copies of its linear layers, the adapter, keys and values; and those of the `proof`."""

    base: int
    copies: int
    adapter: int
    cache: int
    proof: int = 0

    @property
    def training(self) -> int:
        """Bytes while the adapter is trained."""
        return self.base + self.copies + self.adapter + self.cache

    @property
    def total(self) -> int:
        """The most bytes at one time."""
        return max(self.training, self.proof)

    def __str__(self) -> str:
        """Return what is needed in GiB, with the parts of the training, and with the proof where that needs more."""
        parts = {
            "base": self.base,
            "merged copies": self.copies,
            "adapter": self.adapter,
            "keys and values": self.cache,
        }
        training = (
            f"{self.training / GIB:.1f} GiB ({', '.join(f'{name} {size / GIB:.1f}' for name, size in parts.items())})"
        )
        if self.proof <= self.training:
            return training
        return f"{self.proof / GIB:.1f} GiB to prove the adapter with the base in float32, and {training} to train it"


def estimate(
    weights: WeightFiles, config: dict[str, Any], settings: Settings, *, in_fast_policy: bool, processes: int = 1
) -> MemoryEstimate:
    """Return the memory for a model with these weights and this `config.json`.

    The fast policy computes in float32 and merges adapters into copies; the hub policy keeps the base as it is stored,
    or in `compute.dtype`, or quantized, once. Each of several processes on one device has all of it but its share of
    the cache; one of them makes the proof.
    """
    linear = [
        tensor.shape
        for name, tensor in weights.tensors.items()
        if len(tensor.shape) == 2 and not any(part in name for part in NOT_ADAPTED)
    ]
    heads = config.get("num_attention_heads") or config.get("n_head") or 1
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or (config.get("hidden_size") or config.get("n_embd") or 0) // heads
    layers = config.get("num_hidden_layers") or config.get("n_layer") or 1
    learn, each = settings.learn, 4 if in_fast_policy else BYTES.get(settings.compute.dtype)
    exact, base = 4 * weights.parameters, weights.size if each is None else each * weights.parameters
    if settings.compute.quantization != "none":
        base, exact = (
            size - round((size / max(1, weights.parameters) - NF4_BYTES) * sum(map(math.prod, linear)))
            for size in (base, exact)
        )
    factors, position = learn.rank * sum(map(sum, linear)), 2 * layers * kv_heads * head_dim
    # The fast policy keeps those of each head; an answer that rambles has as many tokens as it may have.
    decoded = (each or 2) * position * (heads // kv_heads if in_fast_policy else 1)
    tokens = learn.prompts * learn.group * max(ANSWER_TOKENS, settings.format.max_tokens)
    return MemoryEstimate(
        base=processes * base,
        copies=processes * COPIES * 4 * sum(map(math.prod, linear)) if in_fast_policy else 0,
        adapter=processes * ADAPTER_BYTES * factors,
        cache=min(round(DECODE_GIB * GIB), decoded * tokens),
        proof=exact + 2 * 4 * factors + 4 * position * PROBES * ANSWER_TOKENS,
    )


def estimate_folder(base: Path, weights: WeightFiles, settings: Settings) -> tuple[MemoryEstimate, int]:
    """Return the estimate for the base model in a folder, and the free memory of the device that it runs on.

    What a vLLM server of the worker's own will take there is not free.

    Raises:
        ModelError: `config.json` is damaged, the device or the quantizer is not there, or too few GPUs are.
    """
    from everlearn.training.gpu import require_gpus
    from everlearn.training.models.base_checks import read_config
    from everlearn.training.models.policy import device_of, is_fast  # imports torch
    from everlearn.training.models.quantization import require_quantizer

    require_quantizer(settings.compute)
    require_gpus(settings.compute, processes=settings.learn.processes)
    fast = is_fast(base, settings.compute)
    device = device_of(settings.compute)
    processes = settings.learn.processes if device.type == "cpu" else 1  # of several GPUs each process has its own
    needed = estimate(weights, read_config(base), settings, in_fast_policy=fast, processes=processes)
    return needed, available_memory(str(device)) - reserved_for_vllm(weights, settings, device=str(device))


def reserved_for_vllm(weights: WeightFiles, settings: Settings, *, device: str) -> int:
    """Return the bytes that a vLLM server of the worker's own takes on the learner's device; 0 where none is there.

    Raises:
        ModelError: several learners have all GPUs.
    """
    rollouts = settings.rollouts
    if rollouts.engine != "vllm" or rollouts.servers:
        return 0
    if device.startswith("cuda"):
        import torch

        from everlearn.training.gpu import spare_gpus

        if spare_gpus(torch.device(device), learners=settings.learn.processes):
            return 0
        return round(rollouts.gpu_share * torch.cuda.mem_get_info(torch.device(device))[1])
    return BYTES[rollouts.dtype] * weights.parameters + VLLM_CPU_CACHE


def available_memory(device: str = "cpu") -> int:
    """Return the bytes that a new process could have: of the machine or its container, or of a CUDA device."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = int(psutil.virtual_memory().available)
    limit = _cgroup_number("memory.max")
    return free if limit is None else min(free, limit - (_cgroup_number("memory.current") or 0))


def require_memory(needed: MemoryEstimate, *, available: int, base: str) -> None:
    """Raise ModelError if the estimate is larger than the memory that there is."""
    if needed.total > available:
        raise ModelError(
            f"base model {base} needs about {needed}, and {available / GIB:.1f} GiB are free; use a smaller base or a "
            "machine with more memory, stop what uses it, lower format.max_tokens, or set compute.quantization (docs/models.md "
            "has the estimate)"
        )


def _cgroup_number(name: str) -> int | None:
    """Return a number of this container's control group (version 2); None without a limit."""
    try:
        return int((CGROUP / name).read_text())
    except (OSError, ValueError):  # the root group has no such file, and "max" means no limit
        return None
