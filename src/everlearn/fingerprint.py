"""What a base model is, as one digest: an adapter fits the model that it was trained on, and no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def fingerprint(base: Path) -> str:
    """SHA-256 over what decides a base model's answers: weights, config, tokenizer and chat template.

    Raises:
        ModelError: there is no model in that directory.
    """
    names = sorted(
        path.name
        for path in check_directory(base).iterdir()
        if path.suffix in {".safetensors", ".jinja"} or path.name in {"config.json", "tokenizer.json"}
    )
    digest = hashlib.sha256()
    for name in names:
        with (base / name).open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def check_directory(base: Path) -> Path:
    """`base`, if a model is in it. ModelError if not."""
    if not (base / "config.json").is_file():
        message = (
            f"base model missing: {base} holds no config.json. Point `base.path` at a model directory, or run "
            "`dvc repro base` to build the default one"
        )
        raise ModelError(message)
    return base
