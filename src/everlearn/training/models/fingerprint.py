"""What a base model is, as one digest: an adapter fits the model that it was trained on, and no other."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def fingerprint(base: Path) -> str:
    """SHA-256 over what decides a base model's answers: weights, config, tokenizer and chat template.

    Raises:
        ModelError: there is no model in that directory, or a file of it is damaged.
    """
    names = sorted(
        path.name
        for path in model_directory(base).iterdir()
        if path.suffix in {".safetensors", ".jinja"} or path.name in {"config.json", "tokenizer.json"}
    )
    digest = hashlib.sha256()
    for name in names:
        _check_whole(base / name)
        with (base / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def model_directory(base: Path) -> Path:
    """`base`, if a model is in it. ModelError if not."""
    if not (base / "config.json").is_file():
        message = (
            f"base model missing: {base} holds no config.json. Point `base.path` at a model directory, or run "
            "`dvc repro base` to build the default one"
        )
        raise ModelError(message)
    return base


def damaged(path: Path, error: Exception) -> ModelError:
    """What to say of a base model whose file cannot be read, and what to do about it."""
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(f"base model: {path} is damaged ({why}); restore it, or run `dvc repro base` for the default one")


def _check_whole(path: Path) -> None:
    """Weights whose header covers the file, JSON that can be read: found before a night begins, not in its middle."""
    try:
        if path.suffix == ".safetensors":
            _check_weights(path)
        if path.suffix == ".json":
            json.loads(path.read_bytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(path, error) from None


def _check_weights(path: Path) -> None:
    """ValueError unless the header of a safetensors file speaks of all its bytes and of no others."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size - 8 - length
        if size < 0:
            raise ValueError("its header is cut short")
        header = json.loads(file.read(length))
    if size != max((told["data_offsets"][1] for name, told in header.items() if name != "__metadata__"), default=0):
        raise ValueError("the file is longer or shorter than its header says")
