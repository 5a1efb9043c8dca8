"""Weights of a model on disk: which safetensors files hold them, and what their headers say. Imports no torch.

transformers reads `model.safetensors`, or the shards that `model.safetensors.index.json` names. A safetensors file is a
header length, a JSON header and the numbers (https://github.com/huggingface/safetensors); only headers are read here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everlearn.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
"""Suffixes of weights in formats that can hold code, or that only other frameworks read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """Type (`F32`, `BF16`, …) and shape of a tensor, and its length in the file in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFiles:
    """The files with a model's weights, and its tensors by name."""

    files: tuple[Path, ...]
    tensors: dict[str, TensorHeader]

    @property
    def parameters(self) -> int:
        """The number of weights. A tensor that is stored once and used twice counts once."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def size(self) -> int:
        """The bytes of all weights on disk."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The types of the tensors, that of most bytes first."""
        totals: dict[str, int] = {}
        for tensor in self.tensors.values():
            totals[tensor.dtype] = totals.get(tensor.dtype, 0) + tensor.size
        return tuple(sorted(totals, key=lambda dtype: -totals[dtype]))


def read_weight_files(base: Path) -> WeightFiles:
    """Return what the headers of a model's weights say.

    Raises:
        ModelError: there are no weights in safetensors, a shard or a tensor is missing, or a file is damaged.
    """
    if (base / SINGLE).is_file():
        return _read({SINGLE: None}, base)
    if (base / INDEX).is_file():
        return _read(_shards(base), base)
    raise ModelError(_without_weights(base))


def read_header(path: Path) -> dict[str, TensorHeader]:
    """Return the tensors in a safetensors file by name.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the header is damaged, or does not cover exactly the rest of
            the file.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size - 8 - length
        if size < 0:
            raise ValueError("its header is cut short")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {length:,} bytes")
        header = json.loads(file.read(length))
    tensors = {name: _tensor(entry) for name, entry in header.items() if name != "__metadata__"}
    if size != max((entry["data_offsets"][1] for name, entry in header.items() if name in tensors), default=0):
        raise ValueError("the file is longer or shorter than its header says")
    return tensors


def damaged(path: Path, error: Exception) -> ModelError:
    """Return the error for a base model whose file cannot be read, with the remedy."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(
        f"base model: {path} is damaged ({reason}); restore it (delete it to download it again), or run `dvc repro base` "
        "in the checkout of Everlearn for the demonstration's"
    )


def _tensor(entry: dict[str, Any]) -> TensorHeader:
    start, end = entry["data_offsets"]
    return TensorHeader(
        dtype=str(entry.get("dtype")), shape=tuple(map(int, entry.get("shape", ()))), size=int(end) - int(start)
    )


def _shards(base: Path) -> dict[str, set[str] | None]:
    """Return the names of the tensors by the file that the index says they are in."""
    try:
        placed = json.loads((base / INDEX).read_bytes())["weight_map"]
        shards: dict[str, set[str] | None] = {name: set() for name in sorted(set(placed.values()))}
        for tensor, name in placed.items():
            shards[name].add(tensor)  # type: ignore[union-attr]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(base / INDEX, error) from None
    missing = [name for name in shards if not (base / name).is_file()]
    if missing:
        raise ModelError(
            f"base model {base} is incomplete: {len(missing)} of {len(shards)} files that {INDEX} names are missing, such "
            f"as {missing[0]}; download the model again"
        )
    return shards


def _read(shards: dict[str, set[str] | None], base: Path) -> WeightFiles:
    tensors: dict[str, TensorHeader] = {}
    for name, expected in shards.items():
        try:
            found = read_header(base / name)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise damaged(base / name, error) from None
        lacking = sorted((expected or set()) - found.keys())
        if lacking:
            raise damaged(base / name, ValueError(f"{INDEX} says that it holds {lacking[0]}, and it does not"))
        tensors |= found
    return WeightFiles(files=tuple(base / name for name in shards), tensors=tensors)


def _without_weights(base: Path) -> str:
    names = sorted(path.name for path in base.iterdir()) if base.is_dir() else []
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        return (
            f"base model {base} has its weights only as {pickles[0]}, a format that can run code when it is read; name a "
            "revision with safetensors, or convert it where you trust it: AutoModelForCausalLM.from_pretrained(…)"
            ".save_pretrained(…)"
        )
    return f"base model {base} has no weights ({SINGLE}, or {INDEX} with its shards); download the model again"
