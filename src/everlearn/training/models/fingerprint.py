"""Fingerprint of a base model: an adapter fits only the model that it was trained on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def fingerprint(base: Path) -> str:
    """Return the SHA-256 of the files that decide a base model's answers: weights, config, tokenizer, chat template.

    Raises:
        ModelError: the directory holds no model, or a file of it is damaged.
    """
    names = sorted(
        path.name
        for path in model_directory(base).iterdir()
        if path.suffix in {".safetensors", ".jinja"} or path.name in {"config.json", "tokenizer.json"}
    )
    digest = hashlib.sha256()
    for name in names:
        _check_complete(base / name)
        with (base / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def model_directory(base: Path) -> Path:
    """Return `base`. Raises ModelError if it holds no model."""
    if not (base / "config.json").is_file():
        message = (
            f"base model missing: {base} holds no config.json. Point `base.path` at a model directory, or run "
            "`dvc repro base` to build the default one"
        )
        raise ModelError(message)
    return base


def damaged(path: Path, error: Exception) -> ModelError:
    """Return the error for a base model whose file cannot be read, with the remedy."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(
        f"base model: {path} is damaged ({reason}); restore it, or run `dvc repro base` for the default one"
    )


def _check_complete(path: Path) -> None:
    """Check that weights are as long as their header says and that JSON parses, so that no night fails half-way."""
    try:
        if path.suffix == ".safetensors":
            _check_length(path)
        if path.suffix == ".json":
            json.loads(path.read_bytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(path, error) from None


def _check_length(path: Path) -> None:
    """Raise ValueError unless the tensors in the header of a safetensors file cover exactly the rest of the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size - 8 - length
        if size < 0:
            raise ValueError("its header is cut short")
        header = json.loads(file.read(length))
    ends = (tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    if size != max(ends, default=0):
        raise ValueError("the file is longer or shorter than its header says")
