"""Silent faults: none raises an error by itself, and each is refused before a gradient or before the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from everlearn.errors import ModelError
from everlearn.settings import ComputeSettings
from everlearn.training import preflight
from everlearn.training.models.llama import answer_logprobs
from everlearn.training.preflight import check_sampler
from tests.support import chat_models
from tests.support.adapters import shake
from tests.support.silent_faults import FAULTS, HUB, begin, healthy, sampled
from tests.support.tiny_models import write_model

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from everlearn.training.models.llama import Model

SENTENCES = {
    "answers sampled by the base instead of the adapter": "answers were sampled by the base model without its adapter",
    "answers sampled by the adapter before": "it answers with the adapter step-0-",
    "adapter dropped on one of two replicas": "it answers with the base model without an adapter",
    "tokenizer changed": "are not those that the night was opened with",
    "base at another revision": "are not those that the night was opened with",
    "end token masked": "is masked: the model can never end an answer",
    "chat template applied twice": "contains a special token of the model: the chat template is applied twice",
    "log-probabilities of another temperature": "answers were sampled at temperature 0.5 instead of 1",
    "padding on the wrong side": "prompts are padded on the wrong side",
    "trained layer not saved": "does not hold what was trained at model.layers.1",
    "dropout left on": "dropout is on",
    "rewards that are not numbers": "a reward is nan, neither 0 nor 1",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_silent_fault_is_named(fault: str, tmp_path: Path) -> None:
    assert SENTENCES[fault] in FAULTS[fault](tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen3, tied", "gpt2, transposed weights", "gemma2, capped logits"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_healthy_training_is_not_refused(family: str, dtype: str, tmp_path: Path) -> None:
    base = write_model(family, tmp_path / "base")
    compute = ComputeSettings.model_validate({"dtype": dtype, "device": "cpu"})
    for seed, size in enumerate((0.0, 0.01, 0.3)):
        healthy(base, seed=seed, compute=compute, size=size)


def test_a_chat_model_is_not_refused_in_either_policy(tmp_path: Path) -> None:
    base = chat_models.write_model(tmp_path / "base")
    for compute in (None, HUB):
        healthy(base, seed=1, compute=compute, size=0.1)


def test_a_fresh_adapter_is_never_taken_for_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(other: Model, *given: Any, **options: Any) -> torch.Tensor:
        scores = answer_logprobs(other, *given, **options)
        return scores if other is run.policy.base_model else scores * (1 + 1e-6)  # merged weights round otherwise

    run = begin(chat_models.write_model(tmp_path / "base"), seed=1, size=0.0)
    monkeypatch.setattr(preflight, "answer_logprobs", rounded)
    rollouts = sampled(run, run.policy.base_model)
    check_sampler(run, rollouts.groups)
    shake(run.policy, seed=2, size=0.1)
    with pytest.raises(ModelError, match="by the base model without its adapter"):
        check_sampler(run, rollouts.groups)
