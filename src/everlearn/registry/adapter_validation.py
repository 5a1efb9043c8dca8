"""Validate adapter files before upload and before delivery: two files with finite numbers in the shapes of LoRA.

    adapter_model.safetensors   pairs A (rank, in) and B (out, rank) for modules of the base; float32, float16, bfloat16
    adapter_config.json         known settings of `peft.LoraConfig`

A safetensors file is a header length, a JSON header and the numbers (https://github.com/huggingface/safetensors). It is
parsed here without torch or peft, which a pull does not load, and by a strict grammar, because the file is untrusted:
anything unknown is refused. Whether module names and shapes fit the base model is checked where both are loaded.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.errors import AdapterError
from everlearn.registry.adapter_settings import CONFIG, WEIGHTS, check_plain, check_ranks, check_targets

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

MAX_HEADER = 16 * 1024**2
MAX_CONFIG = 64 * 1024
BLOCK = 4 * 1024**2
EXPONENT = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""For each dtype the integer type to read it as, and its exponent bits: all set only in NaN and infinity (IEEE 754)."""
_TENSOR = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_names(names: Iterable[str]) -> None:
    """Raise AdapterError unless `names` are exactly the two files of an adapter."""
    present = set(names)
    extra, missing = sorted(present - {WEIGHTS, CONFIG}), sorted({WEIGHTS, CONFIG} - present)
    if extra:
        raise AdapterError(f"{extra[0]!r} is not part of an adapter, which is {WEIGHTS} and {CONFIG}; remove it")
    if missing:
        raise AdapterError(f"the adapter has no {missing[0]}; publish both {WEIGHTS} and {CONFIG}")


def check_directory(folder: Path) -> None:
    """Check that `folder` holds a valid adapter and nothing else.

    Raises:
        AdapterError: With the file, tensor or setting that is invalid.
    """
    paths = {path.name: path for path in folder.iterdir()}
    for name, path in sorted(paths.items()):
        if path.is_symlink() or not path.is_file():
            raise AdapterError(f"{name!r} is not a regular file; an adapter must not contain links or directories")
    check_names(paths)
    settings = _read_config(paths[CONFIG])
    ranks = check_ranks(settings)
    modules = _check_weights(paths[WEIGHTS], ranks=ranks)
    check_targets(settings.get("target_modules"), modules)


def _read_config(path: Path) -> dict[str, Any]:
    """Return the settings. Raises AdapterError for one that is unknown or means more than pairs A and B."""
    if path.stat().st_size > MAX_CONFIG:
        raise AdapterError(f"{CONFIG} is larger than {MAX_CONFIG // 1024} KiB")
    settings = _object(path.read_bytes(), name=CONFIG)
    check_plain(settings)
    return settings


def _check_weights(path: Path, *, ranks: frozenset[int]) -> frozenset[str]:
    """Check the tensors, and return the modules that they belong to."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise AdapterError(
                f"{WEIGHTS}: header length {length} is not between 2 and {min(MAX_HEADER, size - 8)}; the file is damaged"
            )
        tensors = _tensors(_object(file.read(length), name=f"{WEIGHTS}, header"))
        _check_layout(tensors, room=size - 8 - length)
        modules = _check_pairs(tensors, ranks=ranks)
        for tensor in tensors:
            _check_finite(file, tensor, start=8 + length)
    return modules


def _tensors(header: dict[str, Any]) -> list[_Tensor]:
    """Return the tensors of the header in file order."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterError(f"{WEIGHTS}: its metadata must map strings to strings")
    return sorted((_tensor(name, entry) for name, entry in header.items()), key=lambda each: (each.begin, each.end))


def _tensor(name: str, entry: Any) -> _Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise AdapterError(f"{WEIGHTS}: {name!r} must have exactly dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in tuple(EXPONENT):
        raise AdapterError(f"{WEIGHTS}: {name!r} has dtype {entry['dtype']!r}; use one of {', '.join(EXPONENT)}")
    if not _are_sizes(shape, count=2) or not _are_sizes(offsets, count=2) or 0 in shape:
        raise AdapterError(f"{WEIGHTS}: {name!r} has shape {shape!r} at offsets {offsets!r}; LoRA weights are matrices")
    return _Tensor(name, entry["dtype"], tuple(shape), *offsets)


def _are_sizes(values: Any, *, count: int) -> bool:
    """Whether `values` is a list of `count` integers from 0 to 2**48."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**48 for each in values)
    )


def _check_layout(tensors: list[_Tensor], *, room: int) -> None:
    """Check that each tensor has the length of its shape, and that together they fill the file without gaps."""
    at = 0
    for tensor in tensors:
        width = np.dtype(EXPONENT[tensor.dtype][0]).itemsize
        if tensor.begin != at or tensor.end - tensor.begin != math.prod(tensor.shape) * width:
            raise AdapterError(
                f"{WEIGHTS}: {tensor.name!r} is at bytes {tensor.begin} to {tensor.end}, not where its shape and order put it"
            )
        at = tensor.end
    if at != room:
        raise AdapterError(f"{WEIGHTS}: the tensors take {at} bytes, but the file has {room}; it is damaged")


def _check_pairs(tensors: list[_Tensor], *, ranks: frozenset[int]) -> frozenset[str]:
    """Check that every module has A and B of one rank that the settings allow, and return the modules."""
    sides: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        match = _TENSOR.fullmatch(tensor.name)
        if match is None:
            raise AdapterError(f"{WEIGHTS}: {tensor.name!r} is not a LoRA weight")
        sides.setdefault(match["module"], {})[match["side"]] = tensor.shape[0 if match["side"] == "A" else 1]
    if not sides:
        raise AdapterError(f"{WEIGHTS} holds no weights")
    for module, rank in sorted(sides.items()):
        if rank.keys() != {"A", "B"} or rank["A"] != rank["B"] or rank["A"] not in ranks:
            raise AdapterError(
                f"{WEIGHTS}: module {module} has the ranks {rank}; A and B must agree with each other and with {CONFIG}"
            )
    return frozenset(sides)


def _check_finite(file: BinaryIO, tensor: _Tensor, *, start: int) -> None:
    kind, exponent = EXPONENT[tensor.dtype]
    file.seek(start + tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        block = file.read(min(BLOCK, left))
        left -= len(block)
        if bool(np.any((np.frombuffer(block, dtype=kind) & exponent) == exponent)):
            raise AdapterError(f"{WEIGHTS}: {tensor.name!r} contains NaN or infinity")


def _object(data: bytes, *, name: str) -> dict[str, Any]:
    """Return a JSON object. Raises AdapterError for other JSON, and for duplicate keys, which parsers read differently."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise AdapterError(f"{name}: duplicate key")
        return made

    try:
        value = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{name} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{name} is not a JSON object")
    return value
