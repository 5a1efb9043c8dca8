"""Load a base model, choose the policy that can run it, and put an adapter on it.

The fast policy is used for a plain Llama on a CPU in float32, if it gives the numbers of transformers; the hub policy
for everything else (`adapted_base`). The setting `compute.policy` forces one. Which one and why is logged.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from everlearn.errors import ModelError
from everlearn.settings import ComputeSettings
from everlearn.training.models.adapted_base import FastPolicy, HubPolicy, Policy
from everlearn.training.models.adapter import load_adapter, pair_of
from everlearn.training.models.file_digests import FileIdentity, file_identity
from everlearn.training.models.fingerprint import model_directory
from everlearn.training.models.hub import HubModel, adapted_modules, add_hooks
from everlearn.training.models.llama import Geometry, Llama, geometry, require_known_weights, token_logprobs
from everlearn.training.models.precision import own_dtype
from everlearn.training.models.quantization import place, quantized
from everlearn.training.models.stop_tokens import stop_tokens
from everlearn.training.models.weight_files import damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import ModuleType

    from transformers import PreTrainedTokenizerBase

    from everlearn.training.models.adapter import LoraPair
    from everlearn.training.models.llama import Model

__all__ = ["LoadedBase", "Policy", "device_of", "load_base", "load_policy"]

LOG = logging.getLogger("everlearn.learn")
_KEPT: dict[tuple[tuple[FileIdentity, ...], ComputeSettings], LoadedBase] = {}
"""The base model that was loaded last, by its files and the settings."""
OWN_CODE_ONLY = {"local_files_only": True, "trust_remote_code": False}
"""Arguments of transformers' `from_pretrained`. Without them it asks at a terminal whether to run a model's own code."""
PARITY_TOKENS, PARITY_NATS = 24, 1e-3
"""Tokens on which two forward passes are compared, and the nats by which they may differ in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBase:
    """A base model in memory, without an adapter. It may carry several policies at once, since none changes it.

    `targets` are the adapted layers with the shapes (out, in) of their weights, `chosen` the policy and the reason,
    `stops` the tokens that end a completion, `context` the most tokens of a prompt with its completion (`Policy`).
    """

    model: Model
    tokenizer: PreTrainedTokenizerBase
    targets: Mapping[str, tuple[int, int]]
    chosen: str
    stops: frozenset[int] = frozenset()
    context: int | None = None

    def policy(
        self, adapter: Path | None = None, *, rank: int = 16, alpha: int = 32, seed: int = 0, grow: int = 0
    ) -> Policy:
        """Return the base with the adapter at `adapter`, or with a fresh one of that rank that changes nothing yet.

        The rank of a given adapter is raised by `grow`, which changes nothing yet either.

        Raises:
            ModelError: the adapter does not fit the base.
        """
        tensors: dict[str, torch.Tensor] = {}
        if adapter is not None:
            config, tensors = load_adapter(adapter)
            rank, alpha, seed = config.r, config.lora_alpha, seed + config.r
        generator = torch.Generator().manual_seed(seed)
        lora = {}
        for name, (out, into) in self.targets.items():
            if adapter is None:
                a, b = _fresh_pair(out, into, rank=rank, generator=generator)
            else:
                pair = pair_of(tensors, name, shape=(out, into), rank=rank, adapter=adapter)
                a, b = _grown(pair, by=grow, generator=generator)
            lora[name] = (a.to(self.model.device).requires_grad_(), b.to(self.model.device).requires_grad_())
        rank += grow if adapter is not None else 0
        given: dict[str, Any] = {"lora": lora, "rank": rank, "alpha": alpha, "chosen": self.chosen}
        given |= {"stops": self.stops, "context": self.context}
        if isinstance(self.model, Llama):
            return FastPolicy(base_model=self.model, tokenizer=self.tokenizer, **given)
        return HubPolicy(base_model=self.model, tokenizer=self.tokenizer, **given)


def _fresh_pair(out: int, into: int, *, rank: int, generator: torch.Generator) -> LoraPair:
    """Return Kaiming-uniform A and zero B as in peft, but from our own generator: the seed decides every bit."""
    bound = 1 / math.sqrt(into)
    return torch.empty(rank, into).uniform_(-bound, bound, generator=generator), torch.zeros(out, rank)


def _grown(pair: LoraPair, *, by: int, generator: torch.Generator) -> LoraPair:
    """Return the pair with its rank raised: new rows of A, zeros in B, and B scaled so that alpha / rank · B·A is as before."""
    a, b = pair
    if not by:
        return pair
    new_a, new_b = _fresh_pair(len(b), a.shape[1], rank=by, generator=generator)
    return torch.cat([a, new_a]), torch.cat([b * ((len(a) + by) / len(a)), new_b], dim=1)


def load_policy(
    base: Path,
    adapter: Path | None = None,
    *,
    rank: int = 16,
    alpha: int = 32,
    seed: int = 0,
    grow: int = 0,
    compute: ComputeSettings | None = None,
) -> Policy:
    """Return `load_base(base).policy(adapter, …)`. Raises ModelError as both do."""
    return load_base(base, compute=compute).policy(adapter, rank=rank, alpha=alpha, seed=seed, grow=grow)


def release_bases() -> None:
    """Forget the base that is kept in memory; the next `load_base` reads it again."""
    _KEPT.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_base(base: Path, *, compute: ComputeSettings | None = None) -> LoadedBase:
    """Return the base model, by the forward pass that the settings and the architecture allow.

    The newest one is kept, so that a process reads it once for all policies, unless one of its files has changed.

    Raises:
        ModelError: the base is missing, damaged or without linear layers, the device is not there, or the fast policy
            is demanded for a base that it cannot run, or the quantizer is not installed.
    """
    compute = compute or ComputeSettings()
    identity = tuple(file_identity(path) for path in sorted(model_directory(base).iterdir()) if path.is_file())
    if (identity, compute) not in _KEPT:
        _KEPT.clear()  # before the next one is read: two may not fit into memory
        loaded = _load(base, compute)
        # The fast policy computes in float32, demanded or not.
        for dtype in ("auto", "float32") if isinstance(loaded.model, Llama) else (compute.dtype,):
            _KEPT[identity, compute.model_copy(update={"dtype": dtype})] = loaded
    return _KEPT[identity, compute]


def _load(base: Path, compute: ComputeSettings) -> LoadedBase:
    device = device_of(compute)
    reason = _reason_against_fast(compute, device)
    if reason is None:
        loaded = _load_fast(base)
        if isinstance(loaded, LoadedBase):
            LOG.info("%s: %s", base.name, loaded.chosen)
            return loaded
        reason = loaded
    if compute.policy == "fast":
        raise ModelError(f"base model {base.name} cannot run in the fast policy ({reason}): unset compute.policy")
    hub = _load_hub(base, compute=compute, device=device, reason=reason)
    LOG.info("%s: %s", base.name, hub.chosen)
    return hub


def device_of(compute: ComputeSettings) -> torch.device:
    """Return the device of the settings. Of several processes of a training, each gets another GPU.

    Raises:
        ModelError: it is a GPU that is not there.
    """
    name, there = compute.device, torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if there else "cpu"
    if name == "cuda":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(1, there)}"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= there:
        raise ModelError(f"compute.device is {compute.device}, but torch sees {there} GPUs here: set another device")
    return device


def _reason_against_fast(compute: ComputeSettings, device: torch.device) -> str | None:
    if compute.policy == "hub":
        return "as set"
    if compute.quantization != "none":
        return f"quantized: {compute.quantization}"
    if device.type != "cpu":
        return "on a GPU"
    return None if compute.dtype in {"auto", "float32"} else f"in {compute.dtype}"


def _load_fast(base: Path) -> LoadedBase | str:
    """Return the base for our own forward pass, or the reason why that cannot run it."""
    shape = _geometry_or_reason(base)
    if isinstance(shape, str):
        return shape
    module, tokenizer = _load_module(base, dtype=torch.float32)
    ours = Llama({name: tensor.detach() for name, tensor in module.state_dict().items()}, shape)
    try:
        gap = _parity_gap(module, ours)
    except KeyError as error:
        return f"not plain Llama: no weight {error}"
    if not gap <= PARITY_NATS:  # NaN, too
        return f"ours differs by {gap:.2g} nats"
    chosen = f"fast policy: own forward pass, within {gap:.1e} nats of transformers"
    return LoadedBase(
        model=ours,
        tokenizer=tokenizer,
        targets=adapted_modules(module),
        chosen=chosen,
        stops=stop_tokens(base, tokenizer),
        context=_context(module),
    )


def _geometry_or_reason(base: Path) -> Geometry | str:
    """Return the geometry for our own forward pass, or the reason why it cannot run the base. Reads no weights."""
    config = _config(base)
    try:
        shape = geometry(config)
        require_known_weights(_weight_names(config))
    except ModelError as error:
        return str(error)
    return shape


def is_fast(base: Path, compute: ComputeSettings) -> bool:
    """Return whether the fast policy is going to run the base, unless it gives other numbers. Reads no weights.

    Raises:
        ModelError: the configuration is damaged, or the device is not there.
    """
    if _reason_against_fast(compute, device_of(compute)) is not None:
        return False
    return not isinstance(_geometry_or_reason(base), str)


def _load_hub(base: Path, *, compute: ComputeSettings, device: torch.device, reason: str) -> LoadedBase:
    """Return the base as a module of transformers with hooks, in its own dtype or that of the settings."""
    dtype = own_dtype(_config(base).dtype, base) if compute.dtype == "auto" else getattr(torch, compute.dtype)
    attention = {} if compute.attention == "auto" else {"attn_implementation": compute.attention}
    module, tokenizer = _load_module(base, dtype=dtype, **attention, **quantized(compute, device=device))
    return adapt(place(module, device=device), tokenizer, stops=stop_tokens(base, tokenizer), reason=reason)


def adapt(module: Any, tokenizer: Any, *, stops: frozenset[int], reason: str) -> LoadedBase:
    """Return a module of transformers, in the dtype and on the device that it has, as a base for the hub policy."""
    module = module.eval().requires_grad_(requires_grad=False)
    targets = adapted_modules(module)
    if module.device.type == "cuda":
        use_liger(module)
    chunked = _head_gives_logits(module)
    add_hooks(module, list(targets))
    model = HubModel(module, chunked=chunked)
    kind = str(model.head.dtype).removeprefix("torch.")
    chosen = f"hub policy: transformers in {kind} on {model.device} ({reason})"
    context = _context(module)
    return LoadedBase(model=model, tokenizer=tokenizer, targets=targets, chosen=chosen, stops=stops, context=context)


def _context(module: Any) -> int | None:
    """Return the number of positions that the module was built for, None where it has no such limit."""
    return getattr(module.config.get_text_config(), "max_position_embeddings", None)


def use_liger(module: Any) -> bool:
    """Replace norms, rotations and MLPs by liger-kernel's Triton kernels; return whether that is installed.

    Log-probabilities stay ours: liger's fused losses have one gradient for all tokens, and GRPO weighs each by itself.
    """
    from transformers.utils import import_utils

    if not import_utils.is_liger_kernel_available():
        return False
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(module, {"cross_entropy": False, "fused_linear_cross_entropy": False})
    return True


def _weight_names(config: Any) -> list[str]:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return list(AutoModelForCausalLM.from_config(config).state_dict())


def _config(base: Path) -> Any:
    return _read(base, lambda auto: auto.AutoConfig.from_pretrained(base, **OWN_CODE_ONLY))


def _load_module(base: Path, **options: Any) -> tuple[Any, PreTrainedTokenizerBase]:
    options |= {"output_loading_info": True, **OWN_CODE_ONLY}
    module, info = _read(base, lambda auto: auto.AutoModelForCausalLM.from_pretrained(base, **options))
    missing = sorted(info["missing_keys"])
    if missing:  # transformers fills them with random numbers, others in each process
        raise ModelError(
            f"base model {base} has no values for {len(missing)} of its weights, such as {missing[0]}; download the model "
            "again, or correct its config.json"
        )
    return module, _read(base, lambda auto: auto.AutoTokenizer.from_pretrained(base, **OWN_CODE_ONLY))


def _read(base: Path, read: Callable[[ModuleType], Any]) -> Any:
    """Return what `read` makes of transformers and the base's files. Raises ModelError if they are missing or damaged."""
    import transformers

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    transformers.utils.logging.disable_progress_bar()
    model_directory(base)
    try:
        return read(transformers)
    except ImportError as error:  # of an attention kernel
        raise ModelError(f"base model {base}: {error}; install it, or set compute.attention to auto") from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"base model {base} brings code of its own for its model or tokenizer, which is never run; use another base"
            ) from None
        raise damaged(base, error) from error


@torch.no_grad()
def _head_gives_logits(module: Any) -> bool:
    """Return whether the logits are the output layer's output, and not capped or scaled after it. Raises ModelError for NaN."""
    head, hidden = module.get_output_embeddings(), list[torch.Tensor]()
    handle = head.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    logits = module(input_ids=torch.arange(1, 9, device=head.weight.device)[None]).logits
    handle.remove()
    if bool(logits.isnan().any()):
        raise ModelError(
            f"base model {module.config.name_or_path} computes NaN in {head.weight.dtype}: download it again"
        )
    return len(hidden) == 1 and torch.allclose(head(hidden[0]).float(), logits.float(), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def _parity_gap(module: Any, ours: Model) -> float:
    """Return the largest difference of the two forward passes in the log-probability of a token, in nats."""
    ids = torch.randint(ours.vocabulary, (PARITY_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
    scores, _ = token_logprobs(ours, [ids[:4]], [ids[4:]])
    logits = module(input_ids=torch.tensor([ids], device=ours.device)).logits[0, 3:-1].float().cpu()
    expected = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[4:])[:, None])[:, 0]
    return float((scores[0] - expected).abs().max())
