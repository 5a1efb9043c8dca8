"""The key of a cycle: which inputs and settings change it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.cycle.inputs import (
    ALWAYS_INCLUDED,
    CycleInputs,
    config_digest,
    cycle_key,
    freeze_inputs,
    freeze_settings,
    restore_settings,
)
from everlearn.errors import CycleError
from everlearn.settings import Settings

INPUTS = CycleInputs(data_digest="d", config_digest="c", parent="v0001", base_fingerprint="b", code_version="0.1.0")
FIELDS = ("data_digest", "config_digest", "parent", "base_fingerprint", "code_version")
CHANGED = {"threads": 4, "ladder": {"rungs": 7}, "learn": {"seed": 3, "bf16": True}}
DEFAULT_DIGEST = "e87eee3150c237c65f3ae562133ee73319c02e51b911499db4d1b369fa194b47"


@given(field=st.sampled_from(FIELDS), value=st.text(alphabet=st.characters(codec="utf-8")))
def test_equal_inputs_are_the_same_cycle(field: str, value: str) -> None:
    changed = replace(INPUTS, **{field: value})
    assert (cycle_key(changed) == cycle_key(INPUTS)) == (changed == INPUTS)
    assert len(cycle_key(changed)) == 64


def test_the_first_night_has_no_parent() -> None:
    assert cycle_key(replace(INPUTS, parent=None)) != cycle_key(replace(INPUTS, parent="None"))


@pytest.mark.parametrize(
    ("changes", "digest"),
    [({}, DEFAULT_DIGEST), (CHANGED, "6fac69d0bdb39a18258e6ec5b23a95f8527df5180a517b1fe10e9046c79e8e55")],
)
def test_digests_of_release_0_1_0_stay(changes: dict[str, Any], digest: str) -> None:
    """Both digests were computed by release 0.1.0. A failure means that every user's nights get new keys."""
    assert config_digest(Settings.model_validate(changes)) == digest


@pytest.mark.parametrize(
    "changes",
    [
        {"rollouts": {"engine": "vllm", "servers": ["http://127.0.0.1:8000"], "adapters": "/shared"}},
        {"rollouts": {"dtype": "float32"}},
        {"ingest": {"holdout_share": 0.3}},
        {"learn": {"kl": 0.1}},
        {"learn": {"memory_gib": 4.5}},
        {"compute": {"device": "cuda"}},
        {"compute": {"policy": "hub", "dtype": "bfloat16", "attention": "eager"}},
        {"format": {"template": {"enable_thinking": False}}},
    ],
    ids=str,
)
def test_a_setting_that_changes_the_weights_changes_it(changes: dict[str, Any]) -> None:
    assert config_digest(Settings.model_validate(changes)) != DEFAULT_DIGEST


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": {"alpha": 0.01}},
        {"verifiers": 3},
        {"store": {"line": "other"}},
        {"learn": {"checkpoint_minutes": 5}},
        {"rollouts": {"gpu_share": 0.6}},
        {"format": {"template": {}}},
        {"learn": {"memory_gib": 4.0}},
    ],
    ids=str,
)
def test_other_settings_do_not_change_the_digest(changes: dict[str, Any]) -> None:
    assert config_digest(Settings.model_validate(changes)) == DEFAULT_DIGEST


def test_settings_of_the_reference_answers_change_the_digest_where_these_are_learned() -> None:
    digests = {
        (epochs, rate): config_digest(Settings.model_validate({"supervised": {"epochs": epochs, "rate": rate}}))
        for epochs in (0, 1)
        for rate in (1e-3, 2e-3)
    }
    assert digests[0, 1e-3] == digests[0, 2e-3] == DEFAULT_DIGEST
    assert len(set(digests.values())) == 3


def test_all_settings_of_release_0_1_0_are_still_there() -> None:
    dumped = Settings().model_dump(include=ALWAYS_INCLUDED)
    assert {name: set(value) for name, value in dumped.items() if isinstance(value, dict)} == {
        name: set(fields) for name, fields in ALWAYS_INCLUDED.items() if fields is not True
    }


def test_frozen_inputs_name_the_installed_release() -> None:
    inputs = freeze_inputs(Settings(), data_digest="d", parent=None, base_fingerprint="b")
    assert (inputs.config_digest, inputs.code_version) == (DEFAULT_DIGEST, version("everlearn"))


def test_frozen_settings_come_back_with_the_store_of_today() -> None:
    frozen = Settings.model_validate({"learn": {"seed": 3}, "store": {"region": "us-east-1"}})
    there = {"root": Path("/there")}
    moved = Settings.model_validate({"learn": {"seed": 4}, "store": {"region": "eu-west-1"}}, context=there)
    restored = restore_settings(freeze_settings(frozen), current=moved)
    assert (restored.learn.seed, restored.store.region, restored.root) == (3, "eu-west-1", Path("/there"))


def test_a_setting_of_a_newer_release_is_named() -> None:
    with pytest.raises(CycleError, match=r"does not accept \(learn.magic\); finish it with that version"):
        restore_settings({"settings": '{"learn": {"magic": 1}}'}, current=Settings())
