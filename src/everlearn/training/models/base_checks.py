"""Checks of a base model before a night starts: files, architecture, tokenizer. Reads no weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from everlearn.errors import ModelError, SettingsError
from everlearn.training.models.fingerprint import model_directory
from everlearn.training.models.formats.format_choice import is_asked_in_words
from everlearn.training.models.weight_files import WeightFiles, damaged, read_weight_files

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.settings import FormatSettings

NO_WORDS = "supervised.epochs needs answers in words: set format.name to chat, or supervised.epochs to 0"
"""What is wrong where reference answers are to be learned in the format `marked`."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "sentencepiece.bpe.model")
ADAPTER = "adapter_config.json"
OBJECTS = ("config.json", "generation_config.json", "tokenizer_config.json")
"""Files that hold one JSON object each."""
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""What `config.json` calls the length of a model's context: most models, GPT-2 and its like, MPT and DBRX, BLOOM."""
RECURRENT = frozenset({"conv", "linear_attention", "hybrid", "hybrid_sliding"})
"""Types of layers with a state beside, or instead of, keys and values."""


def check_base(base: Path) -> WeightFiles:
    """Return what the headers of the weights say, after checking that the folder holds a causal language model.

    Raises:
        ModelError: the folder is missing, an adapter, incomplete, damaged, without tokenizer, of another architecture, quantized, or
            not of attention alone.
    """
    if (base / ADAPTER).is_file():
        raise ModelError(_is_adapter(base))
    weights = read_weight_files(model_directory(base))
    if not any((base / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"base model {base} has no tokenizer (such as {TOKENIZERS[0]}); download the model again")
    for name in OBJECTS:
        if (base / name).is_file():
            _require_object(base / name)
    _require_causal_lm(base)
    return weights


def require_context(base: Path, settings: FormatSettings, domain: Domain) -> None:
    """Raise ModelError if an answer of the length in the settings leaves no room for a question. See `preflight.check_room`."""
    context = context_of(base)
    if context and is_asked_in_words(base, settings, domain) and settings.max_tokens >= context:
        raise ModelError(
            f"format.max_tokens is {settings.max_tokens}, but base model {base} has a context of {context} tokens for "
            "the question and the answer together; lower it"
        )


def require_answers_in_words(base: Path, settings: FormatSettings, domain: Domain, *, epochs: int) -> None:
    """Raise SettingsError if the model is to learn reference answers for so many epochs, and has no words for them."""
    if epochs and not is_asked_in_words(base, settings, domain):
        raise SettingsError(NO_WORDS)


def context_of(base: Path) -> int | None:
    """Return how many tokens question and answer may have together, None where the model does not say."""
    config = read_config(base)
    return next((config[name] for name in CONTEXT_NAMES if config.get(name)), None)


def read_config(base: Path) -> dict[str, Any]:
    """Return `config.json`: the part about text, where a model has several. Raises ModelError if it is damaged."""
    try:
        config = json.loads((base / "config.json").read_bytes())
        return dict(config.get("text_config") or config)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise damaged(base / "config.json", error) from None


def _require_object(path: Path) -> None:
    """Raise ModelError if a file does not hold a JSON object."""
    try:
        json.loads(path.read_bytes()).items()
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(path, error) from None


def _is_adapter(base: Path) -> str:
    try:
        of = json.loads((base / ADAPTER).read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        of = None
    return (
        f"{base} is an adapter{f' of {of}' if of else ''}, not a base model: name its base model in base.path or base.model; "
        "a line makes adapters of its own"
    )


def _require_causal_lm(base: Path) -> None:
    """Raise ModelError unless transformers has a causal language model for the architecture."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    import everlearn.training.models.marked_llama  # noqa: F401 (registers the default base's architecture)

    stated = json.loads((base / "config.json").read_bytes())
    stored = stated.get("quantization_config") or read_config(base).get("quantization_config")
    if stored:
        method = stored.get("quant_method")
        raise ModelError(
            f"base model {base} is stored quantized ({method}); name the model that it was made of, and set compute.quantization "
            "where that does not fit into memory"
        )
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"base model {base} is of type {stated.get('model_type')!r}, which the installed transformers cannot load "
            f"({reason}); use another base, code of a model's own is never run"
        ) from None
    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), ())
    classes = found if isinstance(found, tuple) else (found,)
    names = {each.__name__ for each in classes}
    written = set(stated.get("architectures") or names)
    if not written & names:
        what = ", ".join(sorted(written)) or stated.get("model_type")
        raise ModelError(
            f"base model {base} is no causal language model but {what}; use one whose config.json names an architecture "
            "such as LlamaForCausalLM"
        )
    layers = RECURRENT.intersection(getattr(config.get_text_config(), "layer_types", None) or ())
    if layers or any(getattr(each, "_is_stateful", False) for each in classes):
        raise ModelError(
            f"base model {base} has layers with a state ({', '.join(sorted(layers)) or stated.get('model_type')}), which the answers "
            "to a prompt cannot share; use one with attention alone"
        )
