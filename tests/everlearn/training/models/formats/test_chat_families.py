"""Twelve architectures asked as chat models: answers are those that transformers generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from everlearn.domains.contract import load_domain
from everlearn.settings import ComputeSettings, FormatSettings
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt
from tests.support.chat_models import BOS, END, EOS, PAD, tokenizer
from tests.support.tiny_models import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("arithmetic")
PROBLEMS = [DOMAIN.problem("17 + 5"), DOMAIN.problem("3 * 4")]


@pytest.fixture(params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A random chat model of one family after the other, with a repetition penalty and two end tokens."""
    config = FAMILIES[request.param]()
    config.vocab_size = len(tokenizer())
    config.pad_token_id, config.bos_token_id, config.eos_token_id = PAD, BOS, EOS
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) / 20)
    model.generation_config = GenerationConfig(eos_token_id=[EOS, END], pad_token_id=PAD, repetition_penalty=1.3)
    model.save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def generated(base: Path) -> list[list[int]]:
    """Return what transformers generates greedily, without the penalty, in the tokenizer's own template."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    speaker: Any = AutoTokenizer.from_pretrained(base)
    answers = []
    for problem in PROBLEMS:
        messages = [
            {"role": "system", "content": "Calculate."},
            {"role": "user", "content": DOMAIN.question(problem)},
        ]
        asked = speaker.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        made = model.generate(
            **asked, do_sample=False, max_new_tokens=12, repetition_penalty=1.0, eos_token_id=[EOS, END]
        )
        answers.append(made[0, asked["input_ids"].shape[1] :].tolist())
    return answers


def test_a_question_in_words_gets_the_answer_that_transformers_generates(base: Path) -> None:
    policy = load_policy(base, compute=ComputeSettings(policy="hub"))
    form = choose_format(policy, DOMAIN, FormatSettings(name="chat", max_tokens=12, system="Calculate."))
    solver = Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)
    groups = attempt(solver, PROBLEMS, group=1, seed=1, greedy=True)
    assert [group.completions[0].ids for group in groups] == generated(base)
