"""Fingerprint of a base model: an adapter fits only the model that it was trained on.

Scheme 1 covers weights in safetensors, `config.json`, `tokenizer.json` and `*.jinja`. Scheme 2 covers every file that
transformers may read: also `tokenizer_config.json`, `generation_config.json`, vocabularies and weights in other
formats. A chat template is in `*.jinja` or in `tokenizer_config.json`. The digests of large files are remembered
(`file_digests`).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from everlearn.errors import ModelError
from everlearn.registry.base_identity import to_identity
from everlearn.training.models.file_digests import file_digest
from everlearn.training.models.weight_files import damaged, read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")


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
            line = f"{path.name} {_digest_of(path)}\n".encode()
            for scheme in schemes:
                digests[scheme].update(line)
    return {scheme: digest.hexdigest() for scheme, digest in digests.items()}


def model_directory(base: Path) -> Path:
    """Return `base`. Raises ModelError if it holds no model."""
    if not (base / "config.json").is_file():
        fault = "holds no config.json" if base.is_dir() else "is no directory"
        message = (
            f"base model missing: {base} {fault}. Point `base.path` at a model directory, or run `dvc repro base` in the "
            "checkout of Everlearn to build the demonstration's"
        )
        raise ModelError(message)
    return base


def _digest_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises ModelError if the hub's cache, which names large files by it, holds others."""
    digest, name = file_digest(path), path.resolve().name
    if _SHA256.fullmatch(name) and name != digest:
        raise damaged(path, ValueError("its bytes are not those that were downloaded"))
    return digest


def _check_complete(path: Path) -> None:
    """Check that weights are as long as their header says and that JSON parses, so that no night fails half-way."""
    try:
        if path.suffix == ".safetensors":
            read_header(path)
        if path.suffix == ".json":
            json.loads(path.read_bytes())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(path, error) from None
