"""Which policy and which device a base gets, and what is said about it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import torch
import transformers.integrations.liger
from transformers.utils import import_utils

from everlearn.errors import ModelError
from everlearn.settings import ComputeSettings
from everlearn.training.engines.decode import decode
from everlearn.training.models.adapted_base import FastPolicy, HubPolicy
from everlearn.training.models.hub import HubModel
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import device_of, load_base, load_policy, use_liger
from tests.support.adapters import shake
from tests.support.tiny_base import write_base
from tests.support.tiny_models import write_model
from tests.support.tokens import end_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize(
    ("family", "compute", "chosen"),
    [
        ("llama", ComputeSettings(), "fast policy: own forward pass, within"),
        ("llama, tied", ComputeSettings(policy="fast"), "fast policy: own forward pass, within"),
        ("llama", ComputeSettings(policy="hub"), "hub policy: transformers in float32 on cpu (as set)"),
        ("llama", ComputeSettings(dtype="bfloat16"), "hub policy: transformers in bfloat16 on cpu (in bfloat16)"),
        ("qwen2, biases", ComputeSettings(), "hub policy: transformers in float32 on cpu (not plain Llama: "),
        ("qwen3, tied", ComputeSettings(), "hub policy: transformers in float32 on cpu (not plain Llama: "),
        ("gemma, tied", ComputeSettings(), "hub policy: transformers in float32 on cpu (gemma is not plain Llama: "),
        ("mistral, sliding window", ComputeSettings(), "hub policy: transformers in float32 on cpu (mistral is not"),
    ],
)
def test_one_line_says_which_policy_runs_and_why(
    family: str, compute: ComputeSettings, chosen: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = write_model(family, tmp_path / "base")
    with caplog.at_level(logging.INFO, logger="everlearn.learn"):
        policy = load_policy(base, compute=compute)
    [line] = [record.getMessage() for record in caplog.records if record.name == "everlearn.learn"]
    assert line == f"base: {policy.chosen}"
    assert policy.chosen.startswith(chosen)
    assert isinstance(policy, FastPolicy if chosen.startswith("fast") else HubPolicy)


def test_the_stored_dtype_is_kept_unless_another_is_set(tmp_path: Path) -> None:
    base = write_model("qwen2, biases", tmp_path / "base", dtype=torch.bfloat16)
    for dtype, expected in (("auto", torch.bfloat16), ("float32", torch.float32)):
        policy = load_policy(base, compute=ComputeSettings.model_validate({"dtype": dtype}))
        assert {tensor.dtype for tensor in policy.base_weights.values()} == {expected}
        assert {tensor.dtype for tensor in policy.parameters()} == {torch.float32}


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_a_padding_token_of_minus_one_is_none(policy: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"pad_token_id": -1}))
    loaded = load_policy(base, compute=ComputeSettings.model_validate({"policy": policy}))
    scores, mask = token_logprobs(loaded.snapshot(), [[9, 10], [11, 12, 13]], [[20], [21, 22]])
    assert bool((scores[mask] < 0).all())
    assert decode(loaded.snapshot(), [[9, 10], [11, 12, 13]], group=2, seeds=range(4), stops={2}, limit=40)


@pytest.mark.parametrize("stated", [True, False])
def test_a_base_in_float16_is_trained_in_bfloat16(tmp_path: Path, *, stated: bool) -> None:
    """The weight of a token in the loss of a long step is below what float16 can hold."""
    base = write_model("qwen2, biases", tmp_path / "base", dtype=torch.float16)
    if not stated:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({name: config[name] for name in config if name != "dtype"}))
    policy = load_policy(base)
    assert policy.chosen.startswith("hub policy: transformers in bfloat16 on cpu")
    shake(policy, seed=1, size=0.1)
    scores, _ = token_logprobs(policy.trained(policy.snapshot()), [[9, 10]], [[20, 21, 22]])
    gradients = torch.autograd.grad(1e-7 * scores.sum(), policy.parameters())
    assert all(bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize(
    ("family", "chunked"),
    [("gemma2, capped logits", False), ("phi, bias of the head", True), ("gemma, tied", True)],
)
def test_only_a_model_that_changes_its_logits_computes_all_of_them(family: str, chunked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    model = load_base(write_model(family, tmp_path / "base"), compute=ComputeSettings(policy="hub")).model
    assert isinstance(model, HubModel)
    assert model.chunked == chunked


def test_a_forced_fast_policy_says_why_it_cannot_run(tmp_path: Path) -> None:
    base = write_model("qwen2, biases", tmp_path / "base")
    with pytest.raises(ModelError, match=r"cannot run in the fast policy \(not plain Llama: .*bias\): unset"):
        load_policy(base, compute=ComputeSettings(policy="fast"))


def test_a_missing_attention_kernel_is_named_with_the_remedy(llama: Path) -> None:
    compute = ComputeSettings(policy="hub", attention="flash_attention_2")
    with pytest.raises(ModelError, match=r"(?s)Flash.*set compute.attention to auto"):
        load_policy(llama, compute=compute)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_of_the_settings_is_used(attention: str, llama: Path) -> None:
    compute = ComputeSettings.model_validate({"policy": "hub", "attention": attention})
    model = load_base(llama, compute=compute).model
    assert isinstance(model, HubModel)
    assert model.module.config._attn_implementation == attention


@pytest.mark.parametrize(
    ("device", "gpus", "rank", "expected"),
    [
        ("auto", 0, None, "cpu"),
        ("cpu", 2, None, "cpu"),
        ("auto", 2, None, "cuda:0"),
        ("cuda", 2, "1", "cuda:1"),
        ("cuda", 2, "3", "cuda:1"),
        ("cuda:1", 2, "0", "cuda:1"),
    ],
)
def test_the_device_follows_settings_gpus_and_process(
    device: str, gpus: int, rank: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert str(device_of(ComputeSettings(device=device))) == expected


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused(device: str, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ModelError, match=f"compute.device is {device}, but torch sees {gpus} GPUs"):
        device_of(ComputeSettings(device=device))


@pytest.mark.parametrize("installed", [False, True])
def test_liger_replaces_layers_but_not_the_loss(*, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[tuple[object, object]] = []
    monkeypatch.setattr(import_utils, "is_liger_kernel_available", lambda: installed)
    monkeypatch.setattr(transformers.integrations.liger, "apply_liger_kernel", lambda *given: applied.append(given))
    assert use_liger("module") == installed
    assert applied == [("module", {"cross_entropy": False, "fused_linear_cross_entropy": False})] * installed


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "qwen2, biases", "gpt2, transposed weights"])
def test_a_gpu_gives_the_rollouts_and_gradients_of_a_cpu(family: str, tmp_path: Path) -> None:
    from everlearn.training.engines.decode import decode
    from everlearn.training.models.llama import token_logprobs

    base = write_model(family, tmp_path / "base")
    prompts, answers = [[3, 4, 5], [6, 7, 8, 9]], [[5, 6, 7], [9], [8, 11], [12, 13, 14, 15]]
    results = []
    for device in ("cpu", "cuda"):
        policy = load_policy(base, rank=4, compute=ComputeSettings(policy="hub", device=device))
        with torch.no_grad():
            for _, b in policy.lora.values():
                b.copy_(torch.full(b.shape, 0.05))
        scores, _ = token_logprobs(policy.trained(policy.snapshot()), prompts, answers, temperature=0.9)
        gradients = torch.autograd.grad(scores.sum(), policy.parameters())
        drawn = decode(policy.snapshot(), prompts, group=2, seeds=range(4), stops={end_of(policy)}, limit=20)
        results.append((scores.detach(), [each.cpu() for each in gradients], [r.ids for rows in drawn for r in rows]))
    torch.testing.assert_close(results[0][:2], results[1][:2], atol=1e-4, rtol=1e-3)
    assert results[0][2] == results[1][2]


@pytest.mark.parametrize("family", ["llama", "gpt2, transposed weights"])
def test_a_grown_adapter_computes_what_it_did_before(family: str, tmp_path: Path) -> None:
    base = load_base(write_model(family, tmp_path / "base"))
    before = base.policy(rank=3, alpha=8)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    saved = before.save(tmp_path / "adapter")
    grown = base.policy(saved, grow=2)
    again = base.policy(grown.save(tmp_path / "grown"))
    assert (grown.rank, again.rank, again.alpha) == (5, 5, 8)
    for name, (a, b) in before.lora.items():
        wide_a, wide_b = again.lora[name]
        assert torch.allclose(wide_b @ wide_a * (8 / 5), b @ a * (8 / 3), atol=1e-5)
        assert torch.equal(wide_a[:3], a), "what was learned stays in its rows"
        assert wide_a[3:].any(), "new rows can learn"
    with torch.no_grad():
        twice = base.policy(grown.save(tmp_path / "again"), grow=2)
    assert not torch.equal(next(iter(twice.lora.values()))[0][5:], next(iter(grown.lora.values()))[0][3:]), "new ones"
