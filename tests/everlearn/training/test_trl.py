"""Hugging Face's `trl` as an oracle: log-probabilities, loss and gradients of one batch agree."""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from everlearn.settings import ComputeSettings, LearnSettings
from everlearn.training.base_model.demonstrations import demonstrate_solution
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.grpo import advantages, divergence, policy_loss, token_weights
from everlearn.training.models.llama import token_logprobs
from everlearn.training.models.policy import Policy, load_policy
from tests.support.adapters import shake
from tests.support.tokens import end_of, tokens_of

if TYPE_CHECKING:
    from pathlib import Path

GROUP, LONGEST = 4, 64
VARIANTS = {
    "grpo": LearnSettings(loss="grpo", scale_rewards=True),
    "dr_grpo": LearnSettings(loss="dr_grpo", loss_length=LONGEST),
    "dapo": LearnSettings(loss="dapo", scale_rewards=True),
    "dapo without scaling, as by default": LearnSettings(),
    "dapo with a divergence": LearnSettings(kl=0.07),
    "grpo with a divergence": LearnSettings(loss="grpo", kl=0.07),
    "sequence-level ratio": LearnSettings(loss="grpo", importance="sequence", scale_rewards=True),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with grouped heads, 2 layers of width 32, and the default tokenizer."""
    path = tmp_path_factory.mktemp("plain")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def batch(policy: Policy) -> tuple[list[list[int]], list[list[int]], torch.Tensor]:
    """Return three prompts, `GROUP` answers of different lengths to each, and their rewards."""
    rng = random.Random(3)
    prompts, answers = [], []
    for size in (1, 2, 3):
        prompts.append(tokens_of(policy, demonstrate_solution(rng, size=size)[0]))
        texts = [demonstrate_solution(rng, size=rng.randint(1, 4))[1] for _ in range(GROUP)]
        answers += [[*tokens_of(policy, answer)[1:], end_of(policy)] for answer in texts]
    return prompts, answers, torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 1], [0.0, 1, 1, 1]])


def their_gradients(
    base: Path, policy: Policy, settings: LearnSettings, old: torch.Tensor, *, start: Path, folder: Path
) -> tuple[torch.Tensor, float, dict[str, torch.Tensor]]:
    """Return log-probabilities, loss and gradients of GRPOTrainer for a policy whose training started at `start`."""
    from datasets import Dataset
    from peft import PeftModel
    from trl import GRPOConfig, GRPOTrainer

    prompts, answers, rewards = batch(policy)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, start, is_trainable=True)
    config = GRPOConfig(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(answers),
        num_generations=GROUP,
        max_completion_length=LONGEST,
        loss_type=settings.loss,
        importance_sampling_level=settings.importance,
        beta=settings.kl,
        scale_rewards="group" if settings.scale_rewards else "none",
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        disable_dropout=True,
    )
    texts = [policy.tokenizer.decode(prompt) for prompt in prompts for _ in range(GROUP)]
    rollouts = {
        "prompt_ids": [prompt for prompt in prompts for _ in range(GROUP)],
        "completion_ids": answers,
        "logprobs": None,
    }
    trainer: Any = GRPOTrainer(
        model=model,
        processing_class=policy.tokenizer,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": texts}),
        reward_funcs=lambda **_: rewards.flatten().tolist(),
        rollout_func=lambda _prompts, _trainer: rollouts,
    )
    trainer.model.train()
    trainable = dict(trainer.model.named_parameters())
    with torch.no_grad():
        for module, pair in policy.lora.items():
            for side, tensor in zip("AB", pair, strict=True):
                trainable[f"base_model.model.{module}.lora_{side}.default.weight"].copy_(tensor)
    trainer.current_gradient_accumulation_steps = 1
    inputs = trainer._generate_and_score_completions([{"prompt": text} for text in texts])
    torch.testing.assert_close(
        inputs["advantages"], advantages(rewards, scaled=settings.scale_rewards).flatten(), atol=1e-6, rtol=1e-6
    )
    inputs["old_per_token_logps"] = old
    scores, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        inputs["completion_ids"].shape[1],
    )
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    gradients = {
        name.replace(".default", ""): parameter.grad
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    return scores.detach(), float(loss), gradients


@dataclass(frozen=True)
class Agreement:
    """How far a policy may be from trl: absolute and relative for log-probabilities and loss, and for gradients."""

    compute: ComputeSettings
    scores: float
    gradients: float


POLICIES = {
    "fast": Agreement(ComputeSettings(policy="fast"), scores=1e-5, gradients=1e-5),
    "hub": Agreement(ComputeSettings(policy="hub"), scores=1e-5, gradients=1e-5),
    # trl stays in float32. A bfloat16 has 8 significant bits: its rounding error is 0.004 of a value.
    "hub in bfloat16": Agreement(ComputeSettings(policy="hub", dtype="bfloat16"), scores=0.01, gradients=0.002),
}


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.filterwarnings("ignore")  # of trl and datasets
def test_log_probabilities_loss_and_gradients_equal_trl(name: str, kind: str, plain: Path, tmp_path: Path) -> None:
    near = POLICIES[kind]
    settings, policy = VARIANTS[name], load_policy(plain, rank=4, alpha=8, compute=near.compute)
    assert policy.chosen.startswith(kind.split(maxsplit=1)[0])
    shake(policy, seed=1, size=0.1)
    start, parent = policy.save(tmp_path / "start"), policy.snapshot()
    shake(policy, seed=2, size=0.1)
    prompts, answers, rewards = batch(policy)
    new, mask = token_logprobs(policy.trained(policy.snapshot()), prompts, answers)
    old = new.detach() + torch.randn(new.shape, generator=torch.Generator().manual_seed(2)) * 0.2
    gain = advantages(rewards, scaled=settings.scale_rewards).flatten()
    weights = token_weights(mask.sum(1), settings=settings, answers=len(answers), tokens=int(mask.sum()))
    loss = policy_loss(new, old, old, gain, mask=mask, settings=settings)
    if settings.kl:
        with torch.no_grad():
            reference, _ = token_logprobs(parent, prompts, answers)
        loss = loss + settings.kl * divergence(new, old, reference, mask=mask)
    ours = (loss * weights).sum()
    ours.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores, theirs, gradients = their_gradients(plain, policy, settings, old, start=start, folder=tmp_path)
    torch.testing.assert_close(new.detach()[mask], scores[mask], atol=near.scores, rtol=near.scores)
    assert float(ours) == pytest.approx(theirs, abs=near.scores, rel=near.scores)
    for module, pair in policy.lora.items():
        for side, tensor in zip("AB", pair, strict=True):
            assert tensor.grad is not None
            expected = gradients[f"base_model.model.{module}.lora_{side}.weight"]
            torch.testing.assert_close(tensor.grad, expected, atol=near.gradients, rtol=near.gradients)
            assert expected.abs().max() > 0
