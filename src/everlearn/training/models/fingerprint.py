"""Fingerprint of a base model: an adapter fits only the model that it was trained on.

Scheme 1 covers weights in safetensors, `config.json`, `tokenizer.json` and `*.jinja`. Scheme 2 covers every file that
transformers may read: also `tokenizer_config.json`, `generation_config.json`, vocabularies and weights in other formats.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from everlearn.errors import ModelError
from everlearn.registry.base_identity import to_identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _is_covered_first(path: Path) -> bool:
    return path.suffix in {".safetensors", ".jinja"} or path.name in {"config.json", "tokenizer.json"}


def _is_covered_second(path: Path) -> bool:
    return path.is_file() and path.suffix in {".safetensors", ".bin", ".gguf", ".jinja", ".json", ".model", ".txt"}


SCHEMES: dict[int, Callable[[Path], bool]] = {1: _is_covered_first, 2: _is_covered_second}
"""Whether a file enters the fingerprint, by scheme. A scheme is never changed: stored identities depend on it."""


def fingerprint(base: Path) -> str:
    """Return the identity of a base model (`registry.base_identity`): its digests by every scheme.

    Raises:
        ModelError: the directory holds no model, or a file of it is damaged.
    """
    return to_identity(fingerprints(base))


def fingerprints(base: Path) -> dict[int, str]:
    """Return the SHA-256 by scheme of the files that decide a base model's answers. Raises ModelError as `fingerprint`."""
    digests = {scheme: hashlib.sha256() for scheme in SCHEMES}
    for path in sorted(model_directory(base).iterdir(), key=lambda path: path.name):
        schemes = [scheme for scheme, covers in SCHEMES.items() if covers(path)]
        if schemes:
            _check_complete(path)
            with path.open("rb") as file:
                line = f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            for scheme in schemes:
                digests[scheme].update(line)
    return {scheme: digest.hexdigest() for scheme, digest in digests.items()}


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
