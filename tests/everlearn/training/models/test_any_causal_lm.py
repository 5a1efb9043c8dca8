"""Bases of other architectures: results equal those of transformers and peft, and the log names the reason."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    Qwen2Config,
)

from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError
from everlearn.ladder.tree import Ladder
from everlearn.settings import LearnSettings
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.engines.decode import decode
from everlearn.training.loop import train_step
from everlearn.training.memory_plan import bytes_per_token
from everlearn.training.models.any_causal_lm import TransformersModel
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import Policy, load_policy
from everlearn.training.training_run import start_run

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig

SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}
OTHERS: dict[str, PretrainedConfig] = {
    "qwen2, biases": Qwen2Config(**SMALL, num_key_value_heads=1),
    "gemma, other norms": GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=16),
    "gpt_neox, parallel layers": GPTNeoXConfig(**SMALL),
    "opt, learned positions": OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32),
    "llama, scaled rotary embeddings": LlamaConfig(**SMALL, rope_parameters=SCALED),
}


def write(config: PretrainedConfig, path: Path) -> Path:
    """Write an untrained model of that architecture with the default tokenizer."""
    tokenizer = build_tokenizer()
    config.vocab_size = len(tokenizer)
    config.pad_token_id, config.eos_token_id, config.bos_token_id = 0, tokenizer.eos_token_id, None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) / 20)  # biases, too
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def shaken(base: Path) -> Policy:
    """Return a policy whose adapter has an effect."""
    policy = load_policy(base, rank=4, alpha=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, b in policy.lora.values():
            b.normal_(0, 0.1, generator=generator)
    return policy


def prompts_of(policy: Policy) -> list[list[int]]:
    return [policy.encode("x + x ="), policy.encode("3*x + sin(x) - 2 =")]


@pytest.mark.parametrize("name", OTHERS)
def test_log_probabilities_and_gradients_equal_those_of_peft(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = write(OTHERS[name], tmp_path / "base")
    with caplog.at_level(logging.INFO, logger="everlearn.learn"):
        policy = shaken(base)
    assert len([record for record in caplog.records if "transformers' forward pass" in record.message]) == 1
    assert isinstance(policy.base_model, TransformersModel)
    prompts, answers = prompts_of(policy), [[5, 6, 7], [9], [8, 11], [12, 13, 14, 15]]
    ours, mask = token_logprobs(policy.trained(policy.snapshot()), prompts, answers)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, policy.save(tmp_path / "adapter"), is_trainable=True).eval()
    total = torch.zeros(())
    for index, answer in enumerate(answers):
        ids = torch.tensor([prompts[index // 2] + answer])
        logits = theirs(input_ids=ids).logits[0, -len(answer) - 1 : -1]
        expected = torch.log_softmax(logits, -1).gather(1, ids[0, -len(answer) :, None])[:, 0]
        torch.testing.assert_close(ours[index][mask[index]], expected, atol=1e-5, rtol=1e-5)
        total = total + expected.sum()
    gradients = torch.autograd.grad(ours.sum(), policy.parameters())
    total.backward()
    of = {parameter_name: parameter.grad for parameter_name, parameter in theirs.named_parameters()}
    for module, pair in zip(sorted(policy.lora), zip(gradients[::2], gradients[1::2], strict=True), strict=True):
        for side, gradient in zip("AB", pair, strict=True):
            expected_gradient = of[f"base_model.model.{module}.lora_{side}.default.weight"]
            torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_another_architecture_decodes_as_generate_does(name: str, tmp_path: Path) -> None:
    base = write(OTHERS[name], tmp_path / "base")
    policy = load_policy(base)
    prompts = prompts_of(policy)
    ours = decode(policy.snapshot(), prompts, group=1, seeds=None, end=policy.end, limit=40)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for prompt, (row,) in zip(prompts, ours, strict=True):
        theirs: Any = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40)  # type: ignore[misc]
        assert row.ids == theirs[0, len(prompt) :].tolist()


def test_biases_of_zero_make_no_plain_llama(tmp_path: Path) -> None:
    base = write(OTHERS["qwen2, biases"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: tensor * (not name.endswith(".bias")) for name, tensor in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert isinstance(load_policy(base).base_model, TransformersModel)


def test_samples_are_reported_with_their_log_probabilities(tmp_path: Path) -> None:
    policy = shaken(write(OTHERS["qwen2, biases"], tmp_path / "base"))
    prompts = [*prompts_of(policy), [3]]
    drawn = decode(policy.snapshot(), prompts, group=4, seeds=range(12), end=policy.end, limit=60, temperature=0.7)
    rows = [completion for group in drawn for completion in group]
    assert len({len(row.ids) for row in rows}) > 1, "groups must end at different steps"
    scores, mask = token_logprobs(policy.snapshot(), prompts, [row.ids for row in rows], temperature=0.7)
    for row, score, real in zip(rows, scores, mask, strict=True):
        torch.testing.assert_close(torch.tensor(row.logprobs), score[real].detach(), atol=1e-4, rtol=1e-4)


def test_a_training_step_leaves_the_base_unchanged(tmp_path: Path) -> None:
    policy = load_policy(write(OTHERS["qwen2, biases"], tmp_path / "base"), rank=4)
    before = {name: tensor.clone() for name, tensor in policy.base_weights.items()}
    domain = load_domain("integration")
    replay = [domain.problem("x"), domain.problem("2*x")]
    run = start_run(policy, Ladder(), domain=domain, settings=LearnSettings(prompts=2, group=2), seed=0, replay=replay)
    point = train_step(run, budget_used=0.0)
    assert point.groups_sampled == 2
    assert abs(point.kl) < 1e-4
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.base_weights.items())


def test_a_base_without_linear_layers_is_refused(tmp_path: Path) -> None:
    base = write(GPT2Config(n_embd=32, n_layer=1, n_head=2), tmp_path / "base")
    with pytest.raises(ModelError, match="GPT2LMHeadModel has no linear layers"):
        load_policy(base)
    assert AutoConfig.from_pretrained(base).model_type == "gpt2"


def test_the_memory_estimate_counts_the_prompt_and_the_vocabulary(tmp_path: Path) -> None:
    model = load_policy(write(OTHERS["qwen2, biases"], tmp_path / "base")).base_model
    alone, with_prompt = (bytes_per_token(model, prompt_share=share) for share in (0.0, 1.0))
    assert with_prompt == 2 * alone
    assert alone > 4 * 3 * model.vocabulary
