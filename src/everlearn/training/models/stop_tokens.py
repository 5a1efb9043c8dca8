"""The tokens that end a completion: those of the tokenizer and of the model's generation config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase


def stop_tokens(base: Path, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids. Models with a turn of their own, such as Llama 3 and Qwen, have several."""
    named = _ids(tokenizer.eos_token_id) | _ids(_read(base / "generation_config.json").get("eos_token_id"))
    return named or _ids(_read(base / "config.json").get("eos_token_id"))


def _ids(value: Any) -> frozenset[int]:
    return frozenset() if value is None else frozenset(map(int, value if isinstance(value, list) else [value]))


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content
