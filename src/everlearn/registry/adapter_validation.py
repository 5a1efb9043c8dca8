"""What may be in an adapter: two files, and in them nothing but finite numbers of the shapes that LoRA has.

    adapter_model.safetensors   pairs A (rank, in) and B (out, rank) for modules of the base; float32, float16, bfloat16
    adapter_config.json         the settings of peft's LORA, each by a name that is known here

A safetensors file is a header length, a JSON header and the numbers (https://github.com/huggingface/safetensors); it
cannot carry code, and this reads it without any library that could. Whatever is not understood is refused by name: by
a publisher before the upload, by every reader before the delivery. Leaves out whether the module names and shapes are
those of the base; whoever loads both sees that.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MAX_HEADER = 16 * 1024**2
MAX_CONFIG = 64 * 1024
BLOCK = 4 * 1024**2
EXPONENT = {"F32": ("<u4", 0x7F80_0000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80)}
"""How a number of each kind is read, and the bits that are all set in NaN and infinity only (IEEE 754, bfloat16)."""
_Ranks = frozenset[Any]
_TENSOR = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_.]+)\.lora_(?P<side>[AB])\.weight")
KNOWN = frozenset({
    "alora_invocation_tokens", "alpha_pattern", "arrow_config", "auto_mapping", "base_model_name_or_path", "bias",
    "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
    "modules_to_save", "monteclora_config", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "target_parameters", "task_type", "trainable_token_indices",
    "use_bdlora", "use_dora", "use_qalora", "use_rslora", "velora_config",
})  # fmt: skip
"""Settings of `peft.LoraConfig` (peft 0.21.2)."""
MUST_BE = {"peft_type": "LORA", "auto_mapping": None, "modules_to_save": None, "megatron_config": None}
"""Settings through which peft would import a class by its name, or load weights that are not a pair."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_names(names: Iterable[str]) -> None:
    """Raise AdapterError unless these are exactly the two files."""
    found = set(names)
    extra, missing = sorted(found - {WEIGHTS, CONFIG}), sorted({WEIGHTS, CONFIG} - found)
    if extra:
        raise AdapterError(f"{extra[0]!r} has no place in an adapter, which is {WEIGHTS} and {CONFIG}; remove it")
    if missing:
        raise AdapterError(f"the adapter has no {missing[0]}; publish both {WEIGHTS} and {CONFIG}")


def check_directory(folder: Path) -> None:
    """Raise AdapterError, by name and reason, unless `folder` holds an adapter and nothing else."""
    paths = {path.name: path for path in folder.iterdir()}
    for name, path in sorted(paths.items()):
        if path.is_symlink() or not path.is_file():
            raise AdapterError(f"{name!r} is no plain file; an adapter holds no links and no directories")
    check_names(paths)
    rank_of = _check_config(paths[CONFIG])
    _check_weights(paths[WEIGHTS], rank_of=rank_of)


def _check_config(path: Path) -> _Ranks:
    """The ranks that the settings allow."""
    if path.stat().st_size > MAX_CONFIG:
        raise AdapterError(f"{CONFIG} is larger than {MAX_CONFIG // 1024} KiB")
    settings = _object(path.read_bytes(), name=CONFIG)
    unknown = sorted(settings.keys() - KNOWN)
    if unknown:
        raise AdapterError(f"{CONFIG}: no setting of LoRA is called {unknown[0]!r}")
    for name, value in MUST_BE.items():
        if settings.get(name) != value:
            raise AdapterError(f"{CONFIG}: {name} is {settings.get(name)!r}, and {value!r} alone can be served")
    pattern = settings.get("rank_pattern") or {}
    ranks = [settings.get("r"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise AdapterError(f"{CONFIG}: r and the values of rank_pattern have to be whole numbers above 0")
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
        raise AdapterError(f"{CONFIG}: lora_alpha has to be a finite number, not {alpha!r}")
    return frozenset(ranks)


def _check_weights(path: Path, *, rank_of: _Ranks) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise AdapterError(f"{WEIGHTS}: its header would be {length} bytes long; the file is damaged")
        tensors = _tensors(_object(file.read(length), name=f"{WEIGHTS}, header"))
        _check_layout(tensors, room=size - 8 - length)
        _check_pairs(tensors, ranks=rank_of)
        for tensor in tensors:
            _check_finite(file, tensor, start=8 + length)


def _tensors(header: dict[str, Any]) -> list[_Tensor]:
    """What the header names, in the order in which it lies in the file."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterError(f"{WEIGHTS}: its metadata is no mapping of texts")
    return sorted((_tensor(name, said) for name, said in header.items()), key=lambda each: (each.begin, each.end))


def _tensor(name: str, said: Any) -> _Tensor:
    if not isinstance(said, dict) or said.keys() != {"dtype", "shape", "data_offsets"}:
        raise AdapterError(f"{WEIGHTS}: {name!r} is not described by dtype, shape and data_offsets")
    shape, offsets = said["shape"], said["data_offsets"]
    if said["dtype"] not in tuple(EXPONENT):
        raise AdapterError(f"{WEIGHTS}: {name!r} holds {said['dtype']!r}; use one of {', '.join(EXPONENT)}")
    if not _whole(shape, count=2) or not _whole(offsets, count=2) or 0 in shape:
        raise AdapterError(f"{WEIGHTS}: {name!r} has the shape {shape!r} at {offsets!r}, which no pair of LoRA has")
    return _Tensor(name, said["dtype"], tuple(shape), *offsets)


def _whole(values: Any, *, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**48 for each in values)
    )


def _check_layout(tensors: list[_Tensor], *, room: int) -> None:
    """Each tensor as long as its shape says, one behind the other, to the end of the file."""
    at = 0
    for tensor in tensors:
        width = np.dtype(EXPONENT[tensor.dtype][0]).itemsize
        if tensor.begin != at or tensor.end - tensor.begin != math.prod(tensor.shape) * width:
            raise AdapterError(
                f"{WEIGHTS}: {tensor.name!r} lies at {tensor.begin} to {tensor.end}, not where it should"
            )
        at = tensor.end
    if at != room:
        raise AdapterError(f"{WEIGHTS}: the numbers take {at} bytes and the file has {room} for them; it is damaged")


def _check_pairs(tensors: list[_Tensor], *, ranks: _Ranks) -> None:
    """Every module with A and B, of one rank that the settings name."""
    sides: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        found = _TENSOR.fullmatch(tensor.name)
        if found is None:
            raise AdapterError(f"{WEIGHTS}: {tensor.name!r} is no weight of LoRA")
        sides.setdefault(found["module"], {})[found["side"]] = tensor.shape[0 if found["side"] == "A" else 1]
    if not sides:
        raise AdapterError(f"{WEIGHTS} holds no weights")
    for module, rank in sorted(sides.items()):
        if rank.keys() != {"A", "B"} or rank["A"] != rank["B"] or rank["A"] not in ranks:
            raise AdapterError(
                f"{WEIGHTS}: module {module} has the ranks {rank}; A and B have to agree with each other and with {CONFIG}"
            )


def _check_finite(file: BinaryIO, tensor: _Tensor, *, start: int) -> None:
    kind, exponent = EXPONENT[tensor.dtype]
    file.seek(start + tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        block = file.read(min(BLOCK, left))
        left -= len(block)
        if bool(np.any((np.frombuffer(block, dtype=kind) & exponent) == exponent)):
            raise AdapterError(f"{WEIGHTS}: {tensor.name!r} holds NaN or infinity")


def _object(data: bytes, *, name: str) -> dict[str, Any]:
    """A JSON object in which no key comes twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise AdapterError(f"{name}: a key comes twice")
        return made

    try:
        value = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{name} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise AdapterError(f"{name} is no JSON object")
    return value
