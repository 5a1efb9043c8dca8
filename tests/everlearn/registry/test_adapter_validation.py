"""Adapters that peft writes are valid; anything else is refused by name."""

from __future__ import annotations

import json
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save
from transformers import LlamaConfig, LlamaForCausalLM

from everlearn.errors import AdapterError, IntegrityError
from everlearn.registry.adapter_settings import CONFIG, WEIGHTS
from everlearn.registry.adapter_validation import MAX_CONFIG, MAX_HEADER, check_directory
from everlearn.storage.in_memory import MemoryStore
from tests.support.line import adapter, candidate, open_line

if TYPE_CHECKING:
    from pathlib import Path


A, B = "base_model.model.m.lora_A.weight", "base_model.model.m.lora_B.weight"
ONES = {A: np.ones((2, 4), np.float32), B: np.ones((4, 2), np.float32)}
SETTINGS: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    return fill(tmp_path / "adapter")


def fill(folder: Path, *, weights: bytes = save(ONES), config: bytes = json.dumps(SETTINGS).encode()) -> Path:
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_bytes(config)
    return folder


def described(header: object, *, numbers: bytes = b"") -> bytes:
    """Return a safetensors file with any header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def pair(**changes: Any) -> bytes:
    """Return a pair of tensors of ones, with changes to the header of A."""
    header = {
        A: {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]} | changes,
        B: {"dtype": "F32", "shape": [4, 2], "data_offsets": [32, 64]},
    }
    return described(header, numbers=np.ones(16, np.float32).tobytes())


def test_adapter_written_by_peft_is_valid(tmp_path: Path) -> None:
    shape = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    config = LoraConfig(r=4, rank_pattern={"v_proj": 2}, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        tuned = get_peft_model(LlamaForCausalLM(shape), config).to(dtype)
        tuned.save_pretrained(str(tmp_path / str(dtype)))
        (tmp_path / str(dtype) / "README.md").unlink()
        check_directory(tmp_path / str(dtype))


def test_minimal_adapter_is_valid(folder: Path) -> None:
    check_directory(folder)


@pytest.mark.parametrize("name", ["adapter_model.bin", "tokenizer.json", "run.py", "..data"])
def test_extra_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(AdapterError, match=f"'{name}' is not part of an adapter"):
        check_directory(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_missing_file_is_reported(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(AdapterError, match=f"the adapter has no {name}"):
        check_directory(folder)


def test_links_and_directories_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterError, match=f"'{WEIGHTS}' is not a regular file"):
        check_directory(folder)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    with pytest.raises(AdapterError, match=f"'{WEIGHTS}' is not a regular file"):
        check_directory(folder)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        (b"", "header length 0 is not"),
        (pickle.dumps({"weight": [1.0]}), "header length"),
        (save(ONES)[:40], "header length"),
        (struct.pack("<Q", MAX_HEADER + 1) + b"{}" * MAX_HEADER, f"header length {MAX_HEADER + 1} is not"),
        (described(b"no JSON"), "header is not valid JSON"),
        (described(b"[" * 100_000), "header is not valid JSON"),
        (described([]), "header is not a JSON object"),
        (described(b'{"a": 1, "a": 2}'), "duplicate key"),
        (described({"__metadata__": {"format": 1}}), "metadata must map strings to strings"),
        (described({"__metadata__": []}), "metadata must map strings to strings"),
        (described({}), "holds no weights"),
        (described({A: 1}), "must have exactly dtype"),
        (described({A: {"dtype": "F32", "shape": [2, 4]}}), "must have exactly dtype"),
        (pair(extra=1), "must have exactly dtype"),
        (pair(dtype="F64"), "has dtype 'F64'"),
        (pair(dtype=["F32"]), r"has dtype \['F32'\]"),
        (pair(shape=[8]), "LoRA weights are matrices"),
        (pair(shape=[0, 4]), "LoRA weights are matrices"),
        (pair(shape=[-2, -4]), "LoRA weights are matrices"),
        (pair(shape=[True, 8]), "LoRA weights are matrices"),
        (pair(shape=[2**50, 4]), "LoRA weights are matrices"),
        (pair(shape="24"), "LoRA weights are matrices"),
        (pair(data_offsets=[0, 33]), "not where its shape"),
        (pair(data_offsets=[32, 64]), "not where its shape"),
        (pair(dtype="F16"), "not where its shape"),
        (pair() + b"more", "the tensors take 64 bytes, but the file has 68"),
        (save({"base_model.model.m.weight": ONES[A]}), "is not a LoRA weight"),
        (save({"base_model.model.../m.lora_A.weight": ONES[A]}), "is not a LoRA weight"),
        (save({"embed_tokens": ONES[A]}), "is not a LoRA weight"),
        (save({A: ONES[A]}), "A and B must agree"),
        (save({A: ONES[A], B: np.ones((4, 1), np.float32)}), "A and B must agree"),
        (save({A: np.ones((3, 4), np.float32), B: np.ones((4, 3), np.float32)}), "with adapter_config.json"),
        (save({A: ONES[A], B: np.full((4, 2), np.nan, np.float32)}), "lora_B.weight' contains NaN or infinity"),
        (save({A: ONES[A] * -np.inf, B: ONES[B]}), "lora_A.weight' contains NaN or infinity"),
        (save({A: np.full((2, 4), np.inf, np.float16), B: ONES[B]}), "contains NaN or infinity"),
    ],
)
def test_invalid_weights_are_refused(folder: Path, weights: bytes, why: str) -> None:
    fill(folder, weights=weights)
    with pytest.raises(AdapterError, match=why):
        check_directory(folder)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"r": 1, "r": 2}', "duplicate key"),
        (b" " * (MAX_CONFIG + 1), "is larger than 64 KiB"),
        (b"\xff", "is not valid JSON"),
    ],
)
def test_unreadable_settings_are_refused(folder: Path, config: bytes, why: str) -> None:
    fill(folder, config=config)
    with pytest.raises(AdapterError, match=why):
        check_directory(folder)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trust_remote_code": True}, "unknown LoRA setting 'trust_remote_code'"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type is 'PROMPT_TUNING', but only 'LORA' is allowed"),
        ({"auto_mapping": {"parent_library": "os"}}, "auto_mapping is"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"r": 0}, "r and the values of rank_pattern"),
        ({"r": True}, "r and the values of rank_pattern"),
        ({"r": None}, "r and the values of rank_pattern"),
        ({"rank_pattern": [2]}, "r and the values of rank_pattern"),
        ({"rank_pattern": {"m": "2"}}, "r and the values of rank_pattern"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a finite number"),
        ({"lora_alpha": True}, "lora_alpha must be a finite number"),
        ({"lora_alpha": "16"}, "lora_alpha must be a finite number"),
        ({"lora_alpha": 1e30}, "lora_alpha 1e\\+30 is not between 0 and 1000 times the rank"),
        ({"lora_alpha": -1}, "lora_alpha -1 is not between"),
        ({"use_dora": True}, "use_dora is True, but adapter_model.safetensors can hold plain LoRA pairs only"),
        ({"lora_bias": True}, "lora_bias is True, but"),
        ({"bias": "all"}, "bias is 'all', but"),
        ({"layer_replication": [[0, 2]]}, r"layer_replication is \[\[0, 2\]\], but"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base when loaded"),
        ({"target_modules": ["m", "q_proj"]}, "names 'q_proj', for which adapter_model.safetensors has no weights"),
        ({"target_modules": ["q_proj"]}, "has weights for m, which target_modules does not name"),
        ({"target_modules": []}, "target_modules must be a name, a pattern or a list of names"),
        ({"target_modules": [1]}, "target_modules must be a name, a pattern or a list of names"),
        ({"target_modules": 1}, "target_modules must be a name, a pattern or a list of names"),
    ],
)
def test_unsafe_settings_are_refused(folder: Path, changes: dict[str, Any], why: str) -> None:
    fill(folder, config=json.dumps(SETTINGS | changes).encode())
    with pytest.raises(AdapterError, match=why):
        check_directory(folder)


@pytest.mark.parametrize("targets", [["m"], "all-linear", ".*m", None])
def test_weights_of_the_named_modules_are_valid(folder: Path, targets: Any) -> None:
    check_directory(fill(folder, config=json.dumps(SETTINGS | {"target_modules": targets}).encode()))


@pytest.mark.parametrize(("targets", "valid"), [("all-linear", False), ("model.lm_head", True), (["lm_head"], True)])
def test_the_head_has_weights_only_where_it_is_named(folder: Path, targets: Any, *, valid: bool) -> None:
    weights = save({name.replace(".m.", ".lm_head."): tensor for name, tensor in ONES.items()})
    fill(folder, weights=weights, config=json.dumps(SETTINGS | {"target_modules": targets}).encode())
    if valid:
        check_directory(folder)
        return
    with pytest.raises(AdapterError, match="has weights for lm_head, which target_modules does not name"):
        check_directory(folder)


@given(at=st.integers(0, len(save(ONES)) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_any_changed_header_raises_only_adapter_error(
    at: int, value: int, tmp_path_factory: pytest.TempPathFactory, *, cut: bool
) -> None:
    data = bytearray(save(ONES))
    data[at] = value
    folder = fill(tmp_path_factory.mktemp("adapter"), weights=bytes(data[:at] if cut else data))
    try:
        check_directory(folder)
    except AdapterError:
        return
    assert not cut


def test_version_with_an_invalid_adapter_is_not_delivered(tmp_path: Path) -> None:
    registry = open_line(MemoryStore())
    manifest = candidate(registry, "one")
    manifest.files[WEIGHTS] = registry.put_object(adapter("one") + b"more")
    registry.publish(manifest, make_champion=True, actor="night", reason="better")
    with pytest.raises(IntegrityError, match="it is damaged"):
        registry.pull("champion", to=tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
