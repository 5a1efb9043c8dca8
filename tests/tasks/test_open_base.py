"""The base model of a night: pinned, downloaded and checked before the night is opened."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from everlearn.canonical_json import digest_of
from everlearn.errors import ModelError, SettingsError
from everlearn.registry.connect import open_registry
from everlearn.settings import ComputeSettings, FormatSettings, RolloutSettings
from everlearn.training import memory_estimate
from everlearn.training.models import file_digests
from tasks.ingest import ClaimedSnapshot
from tasks.night import hold_line
from tasks.open_base import base_folder, check_base_model, open_base
from tasks.open_night import inputs_of, open_night, resume_night
from tests.support.fake_hub import FakeHub
from tests.support.line import candidate
from tests.support.tiny_base import write_base

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everlearn.settings import Settings

MODEL = "lab/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as running:
        running.use(monkeypatch, tmp_path / "cache")
        yield running


@pytest.fixture
def named(settings: Settings) -> Settings:
    """Settings with a model of the hub."""
    base = settings.base.model_validate({"model": MODEL})
    return settings.model_copy(update={"base": base})


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="everlearn.night")
    return caplog


def test_a_night_is_frozen_with_the_commit_of_its_base(
    named: Settings, hub: FakeHub, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    commit = hub.add(MODEL, write_base(tmp_path / "uploaded"))
    with hold_line(named) as token:
        pinned = open_base.fn(named)
        check_base_model.fn(pinned, trains_here=True)
        night = open_night.fn(pinned, token, ClaimedSnapshot(data_digest=digest_of(b"data"), problems=25))
        hub.add(MODEL, tmp_path)  # the branch has moved when the night is resumed, with settings without a commit
        resumed = resume_night.fn(named, token)
    assert resumed is not None
    assert night.settings.base.commit == resumed.settings.base.commit == commit
    assert base_folder(resumed.settings).name == commit
    assert f"base model {MODEL} at commit {commit}: 0.0 M parameters (F32) in 1 files" in logged.text
    assert "a night needs about " in logged.text


def test_a_version_names_the_commit_for_the_next_nights(named: Settings, hub: FakeHub, tmp_path: Path) -> None:
    first = hub.add(MODEL, write_base(tmp_path / "uploaded"))
    pinned, registry = open_base.fn(named), open_registry(named)
    identity = inputs_of(pinned, data_digest="d").base_fingerprint
    made = candidate(registry, "one", base=identity)
    made.config.update(pinned.model_dump(mode="json"))
    registry.publish(made, make_champion=True, actor="night", reason="better")
    hub.add(MODEL, write_base(tmp_path / "other", shard="20KB"))
    assert open_base.fn(named).base.commit == first
    assert inputs_of(open_base.fn(named), data_digest="d").base_fingerprint == identity


def test_a_base_larger_than_memory_is_refused_only_where_it_trains(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_estimate, "available_memory", lambda _: 1000)
    check_base_model.fn(settings, trains_here=False)
    with pytest.raises(ModelError, match=r"needs about .* GiB are free; use a smaller base"):
        check_base_model.fn(settings, trains_here=True)


def test_a_gpu_is_demanded_only_where_it_trains(settings: Settings) -> None:
    changed = settings.model_copy(update={"compute": ComputeSettings(device="cuda:7")})
    check_base_model.fn(changed, trains_here=False)
    with pytest.raises(ModelError, match=r"compute\.device is cuda:7, but torch sees \d+ GPUs here"):
        check_base_model.fn(changed, trains_here=True)


def test_a_missing_vllm_is_refused_before_the_night_where_it_decodes(settings: Settings, tmp_path: Path) -> None:
    rollouts = RolloutSettings(engine="vllm", program=tmp_path / "nowhere")
    changed = settings.model_copy(update={"rollouts": rollouts})
    check_base_model.fn(changed, trains_here=False)
    with pytest.raises(ModelError, match="run `make vllm`"):
        check_base_model.fn(changed, trains_here=True)
    elsewhere = rollouts.model_copy(update={"servers": ("http://gpu-1:8000",), "adapters": tmp_path})
    check_base_model.fn(changed.model_copy(update={"rollouts": elsewhere}), trains_here=True)


def test_answers_longer_than_the_context_are_refused(settings: Settings, tmp_path: Path) -> None:
    base = settings.base.model_copy(update={"path": write_base(tmp_path / "base")})
    for name, tokens, fits in (("auto", 512, False), ("chat", 512, False), ("chat", 511, True), ("marked", 512, True)):
        form = FormatSettings.model_validate({"name": name, "max_tokens": tokens})
        changed = settings.model_copy(update={"base": base, "format": form})
        if fits:
            check_base_model.fn(changed, trains_here=True)
        else:
            with pytest.raises(ModelError, match=r"format\.max_tokens is 512, but .* has a context of 512 tokens"):
                check_base_model.fn(changed, trains_here=True)


def test_a_model_that_cannot_answer_is_refused(settings: Settings, tmp_path: Path) -> None:
    base = write_base(tmp_path / "encoder")
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    changed = settings.model_copy(update={"base": settings.base.model_copy(update={"path": base})})
    assert open_base.fn(changed) is changed
    with pytest.raises(ModelError, match="is no causal language model but LlamaForSequenceClassification"):
        check_base_model.fn(changed, trains_here=True)


def test_the_second_night_reads_no_weights(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "SMALL_BYTES", 50_000)
    monkeypatch.setattr(file_digests, "SETTLED_S", -1.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "remembered"))
    computed: list[str] = []
    compute = file_digests._compute

    def counted(path: Path) -> str:
        computed.append(path.name)
        return compute(path)

    monkeypatch.setattr(file_digests, "_compute", counted)
    large = write_base(tmp_path / "base")
    weights = large / "model.safetensors"
    changed = settings.model_copy(update={"base": settings.base.model_copy(update={"path": large})})
    first = inputs_of(changed, data_digest="d")
    assert weights.stat().st_size > file_digests.SMALL_BYTES
    assert inputs_of(changed, data_digest="d") == first
    assert computed.count("model.safetensors") == 1
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert inputs_of(changed, data_digest="d") != first


def test_reference_answers_without_words_are_refused_before_a_night_is_opened(settings: Settings) -> None:
    asked = settings.model_copy(update={"supervised": settings.supervised.model_copy(update={"epochs": 1})})
    with pytest.raises(SettingsError, match="needs answers in words"):
        check_base_model.fn(asked, trains_here=False)
    check_base_model.fn(settings, trains_here=False)
