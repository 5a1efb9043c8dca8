"""Our forward pass, transformers', peft's and the decoder give equal numbers for equal weights."""

from __future__ import annotations

import errno
import json
import logging
import random
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from everlearn.errors import ModelError
from everlearn.training.base_model.demonstrations import demonstrate_solution
from everlearn.training.base_model.pretrain import build_model
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.engines.decode import decode
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.hub import HubModel
from everlearn.training.models.llama import Llama, geometry, token_logprobs
from everlearn.training.models.marked_llama import marked_positions
from everlearn.training.models.policy import Policy, load_policy
from tests.support.adapters import shake
from tests.support.tokens import end_of, tokens_of

if TYPE_CHECKING:
    from pathlib import Path


def shaken(base: Path, *, rank: int = 4) -> Policy:
    """Return a policy whose adapter has an effect."""
    return shake(load_policy(base, rank=rank, alpha=8), seed=1, size=0.1)


def pairs(policy: Policy, *, count: int = 3) -> tuple[list[list[int]], list[list[int]]]:
    """Return prompts and answers of different lengths, as tokens."""
    rng = random.Random(3)
    texts = [demonstrate_solution(rng, size=size) for size in range(1, count + 1)]
    prompts = [tokens_of(policy, prompt) for prompt, _ in texts]
    return prompts, [[*tokens_of(policy, answer)[1:], end_of(policy)] for _, answer in texts]


def reference(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + answer])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]


def test_a_batch_of_shared_prompts_equals_peft(tiny: Path, tmp_path: Path) -> None:
    policy = shaken(tiny)
    prompts, answers = pairs(policy)
    twice = [answer for answer in answers for _ in range(2)]
    ours, mask = token_logprobs(policy.trained(policy.snapshot()), prompts, twice)
    plain = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, policy.save(tmp_path / "adapter"))
    for index, answer in enumerate(twice):
        expected = reference(theirs, prompts[index // 2], answer)
        torch.testing.assert_close(ours[index][mask[index]], expected, atol=1e-5, rtol=1e-5)


def test_the_gradient_is_the_slope_of_the_log_probabilities(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed=0, width=16, layers=2)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 10_000
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    policy = shaken(tmp_path)
    prompts, answers = pairs(policy)
    generator = torch.Generator().manual_seed(4)

    def total() -> torch.Tensor:
        scores, mask = token_logprobs(policy.trained(policy.snapshot()), prompts, answers)
        return (scores * mask).sum()

    gradients = torch.autograd.grad(total(), policy.parameters())
    for index, (tensor, gradient) in enumerate(zip(policy.parameters(), gradients, strict=True)):
        direction = torch.randn(tensor.shape, generator=generator)
        direction /= direction.norm()
        heights = []
        for step in (0.01, -0.01):
            with torch.no_grad():
                tensor.add_(step * direction)
                heights.append(float(total()))
                tensor.sub_(step * direction)
        slope = (heights[0] - heights[1]) / 0.02
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.03, abs=0.03), index


def test_a_plain_llama_with_grouped_heads_equals_transformers() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    prompts, answers = [[3, 4, 5], [6, 7, 8, 9, 10]], [[11, 12], [13, 14, 15]]
    ours, mask = token_logprobs(Llama(model.state_dict(), geometry(config)), prompts, answers)
    for row in range(2):
        expected = reference(model, prompts[row], answers[row])
        torch.testing.assert_close(ours[row][mask[row]], expected, atol=1e-5, rtol=1e-5)


def test_greedy_decoding_equals_generate_with_padding_and_cache(shipped: Path) -> None:
    policy = load_policy(shipped)
    prompts, _ = pairs(policy, count=5)
    ours = decode(policy.snapshot(), prompts, group=1, seeds=None, stops={end_of(policy)}, limit=80)
    model = AutoModelForCausalLM.from_pretrained(shipped, dtype=torch.float32)
    batch = policy.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    theirs: Any = model.generate(**batch, do_sample=False, max_new_tokens=80)  # type: ignore[misc]
    theirs = theirs[:, batch["input_ids"].shape[1] :]
    for row, completion in enumerate(ours):
        assert completion[0].ids == theirs[row, : len(completion[0].ids)].tolist()


def test_the_decoder_reports_log_probabilities_of_its_samples(tiny: Path) -> None:
    policy = shaken(tiny)
    prompts, _ = pairs(policy)
    drawn = decode(
        policy.snapshot(), prompts, group=4, seeds=range(12), stops={end_of(policy)}, limit=20, temperature=0.7
    )
    rows = [completion for group in drawn for completion in group]
    scores, mask = token_logprobs(policy.snapshot(), prompts, [row.ids for row in rows], temperature=0.7)
    for row, score, real in zip(rows, scores, mask, strict=True):
        torch.testing.assert_close(torch.tensor(row.logprobs), score[real].detach(), atol=1e-4, rtol=1e-4)


def test_a_rollout_does_not_depend_on_the_rest_of_its_batch(tiny: Path) -> None:
    policy = shaken(tiny)
    prompts, _ = pairs(policy)
    together = decode(policy.snapshot(), prompts, group=2, seeds=[9, 8, 7, 6, 5, 4], stops={end_of(policy)}, limit=12)
    alone = decode(policy.snapshot(), prompts[1:2], group=2, seeds=[7, 6], stops={end_of(policy)}, limit=12)
    assert [row.ids for row in together[1]] == [row.ids for row in alone[0]]


def test_a_copying_answer_uses_only_the_markers_of_its_prompt(tiny: Path) -> None:
    policy = shaken(tiny)
    prompt = tokens_of(policy, "DROP <3> + x <7> - x =")
    markers = {policy.tokenizer.convert_tokens_to_ids(f"<{number}>") for number in range(24)}
    drawn = decode(
        policy.snapshot(),
        [prompt],
        group=16,
        seeds=range(16),
        stops={end_of(policy)},
        limit=20,
        temperature=3.0,
        copying=True,
    )
    used = {token for row in drawn[0] for token in row.ids} & markers
    assert used <= set(prompt)
    assert used


def test_positions_follow_markers_with_padding_and_cache(tiny: Path) -> None:
    policy = load_policy(tiny)
    assert isinstance(policy.base_model, Llama)
    config = policy.base_model.shape.markers
    assert config is not None
    ids = torch.tensor([tokens_of(policy, "INT <0> + x <2> - x =")])
    whole = marked_positions(ids, config=config)
    assert whole[0].tolist() == [0, 1, 24, 25, 26, 72, 73, 74, 75]
    padded = torch.nn.functional.pad(ids, (3, 0), value=policy.base_model.pad)
    assert marked_positions(padded, config=config)[0, 3:].tolist() == whole[0].tolist()
    halves = [
        marked_positions(ids[:, :4], config=config),
        marked_positions(ids[:, 4:], config=config, last=whole[:, 3]),
    ]
    assert torch.equal(torch.cat(halves, 1), whole)


def test_embeddings_without_token_ids_are_refused(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    with pytest.raises(ValueError, match="derives positions from input_ids"):
        model(inputs_embeds=torch.zeros(1, 2, 32))


def test_an_unsupported_config_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="attention_bias"):
        geometry(LlamaConfig(attention_bias=True))


def test_a_base_with_other_numbers_uses_the_pass_of_transformers(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="everlearn.learn")
    base = shutil.copytree(tiny, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.9}))
    assert isinstance(load_policy(base).base_model, Llama)
    shape = geometry(AutoConfig.from_pretrained(tiny))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("everlearn.training.models.policy.geometry", lambda _: shape)
        patch.setattr("everlearn.training.models.policy._KEPT", {})
        assert isinstance(load_policy(base).base_model, HubModel)
    assert re.search(r"hub policy: transformers .* \(ours differs by 0\.\d+ nats\)", caplog.text)


def test_a_missing_base_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"holds no config\.json\. Point `base\.path` at .* in the checkout of Everlearn"
    ):
        fingerprint(tmp_path)
    with pytest.raises(ModelError, match=r"base model missing: .*nowhere is no directory"):
        fingerprint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_base_is_refused_by_fingerprint_and_loading(name: str, shipped: Path, tmp_path: Path) -> None:
    base = shutil.copytree(shipped, tmp_path / "base")
    whole = (base / name).read_bytes()
    (base / name).write_bytes(whole[: len(whole) // 2])
    for use in (fingerprint, load_policy):
        with pytest.raises(ModelError, match=r"is damaged.*restore it"):
            use(base)


def test_an_adapter_for_another_base_is_refused(tiny: Path, shipped: Path, tmp_path: Path) -> None:
    adapter = shaken(tiny).save(tmp_path / "adapter")
    with pytest.raises(ModelError, match="does not fit this base"):
        load_policy(shipped, adapter)


def test_a_full_disk_raises_oserror(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as full:
        shaken(tiny).save(tmp_path)
    assert full.value.errno == errno.ENOSPC


def test_repeated_merging_leaves_the_base_unchanged(tiny: Path) -> None:
    policy = shaken(tiny)
    before = {name: tensor.clone() for name, tensor in policy.base_weights.items()}
    for _ in range(50):
        policy.snapshot()
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.base_weights.items())
