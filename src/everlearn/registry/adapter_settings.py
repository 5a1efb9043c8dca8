"""Settings of an adapter (`adapter_config.json`): known names, plain LoRA, and the modules that the weights are for.

peft ignores, with at most a warning, settings that the weights do not match: the adapter then computes something else
than was measured. Such settings are refused here. May import no peft: a pull does not load it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from everlearn.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
KNOWN = frozenset({
    "alora_invocation_tokens", "alpha_pattern", "arrow_config", "auto_mapping", "base_model_name_or_path", "bias",
    "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
    "modules_to_save", "monteclora_config", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "target_parameters", "task_type", "trainable_token_indices",
    "use_bdlora", "use_dora", "use_qalora", "use_rslora", "velora_config",
})  # fmt: skip
"""Names of the settings of `peft.LoraConfig` (peft 0.21.2)."""
MUST_BE = {"peft_type": "LORA", "auto_mapping": None, "modules_to_save": None, "megatron_config": None}
"""Settings by which peft would import a class by name, or load weights other than LoRA pairs."""
MUST_BE_UNSET = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "lora_bias", "monteclora_config",
    "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "velora_config",
)  # fmt: skip
"""Settings under which an adapter needs other weights than LoRA pairs, or is applied to other layers than they name."""
NEUTRAL_INITS = (True, False, "gaussian")
"""Values of init_lora_weights by which loading an adapter does not change the base (PiSSA, OLoRA and others do)."""
MAX_SCALE = 1000.0
"""Largest lora_alpha / r. In practice it is 1 or 2; with 1e30 every product overflows."""
HEAD = "lm_head"


def check_plain(settings: dict[str, Any]) -> None:
    """Raise AdapterError for a setting that is unknown or means more than LoRA pairs."""
    unknown = sorted(settings.keys() - KNOWN)
    if unknown:
        raise AdapterError(f"{CONFIG}: unknown LoRA setting {unknown[0]!r}; remove it")
    for name, value in MUST_BE.items():
        if settings.get(name) != value:
            raise AdapterError(f"{CONFIG}: {name} is {settings.get(name)!r}, but only {value!r} is allowed")
    for name in MUST_BE_UNSET:
        if settings.get(name):
            raise AdapterError(f"{CONFIG}: {name} is {settings[name]!r}, but {WEIGHTS} can hold plain LoRA pairs only")
    if settings.get("bias", "none") != "none":
        raise AdapterError(f"{CONFIG}: bias is {settings['bias']!r}, but {WEIGHTS} can hold plain LoRA pairs only")
    if settings.get("init_lora_weights", True) not in NEUTRAL_INITS:
        raise AdapterError(
            f"{CONFIG}: init_lora_weights {settings['init_lora_weights']!r} changes the base when loaded"
        )


def check_ranks(settings: dict[str, Any]) -> frozenset[int]:
    """Return the ranks that the settings allow, after a check of them and of the scale."""
    pattern = settings.get("rank_pattern") or {}
    ranks = [settings.get("r"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise AdapterError(f"{CONFIG}: r and the values of rank_pattern must be integers above 0")
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise AdapterError(f"{CONFIG}: lora_alpha must be a finite number, not {alpha!r}")
    if not 0 < alpha <= MAX_SCALE * min(ranks):
        raise AdapterError(f"{CONFIG}: lora_alpha {alpha!r} is not between 0 and {MAX_SCALE:.0f} times the rank")
    return frozenset(ranks)


def check_targets(targets: Any, modules: Iterable[str]) -> None:
    """Check that the weights belong to exactly the modules that `target_modules` names, as peft matches them.

    peft leaves out a module without weights, and weights without a module, with no more than a warning.
    """
    if targets is None:
        return  # peft then takes the modules that are usual for the architecture
    listed = [targets] if isinstance(targets, str) else targets
    if not isinstance(listed, list) or not listed or not all(isinstance(each, str) for each in listed):
        raise AdapterError(f"{CONFIG}: target_modules must be a name, a pattern or a list of names, not {targets!r}")
    names = list(modules)
    if HEAD in {name.rpartition(".")[2] for name in names} and HEAD not in {each.rpartition(".")[2] for each in listed}:
        raise AdapterError(f"{WEIGHTS} has weights for {HEAD}, which target_modules does not name; remove or name them")
    if isinstance(targets, str):
        return  # a pattern, or "all-linear": only the base model tells which modules match
    for name in names:
        if not any(_is_named(name, each) for each in listed):
            raise AdapterError(f"{WEIGHTS} has weights for {name}, which target_modules does not name")
    for each in listed:
        if not any(_is_named(name, each) for name in names):
            raise AdapterError(f"{CONFIG}: target_modules names {each!r}, for which {WEIGHTS} has no weights")


def _is_named(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")
