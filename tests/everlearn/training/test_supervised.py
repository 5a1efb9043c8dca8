"""Reference answers are learned as completions, if the domain judges them right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from everlearn.domains.contract import load_domain
from everlearn.errors import ModelError, SettingsError
from everlearn.settings import ComputeSettings, FormatSettings, LearnSettings, SupervisedSettings
from everlearn.training.engines.decode import Completion
from everlearn.training.job import SupervisedJob
from everlearn.training.models.fingerprint import fingerprint
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.hub import HubModel
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import Solver, attempt
from everlearn.training.supervised import demonstrations, learn_answers
from tests.support.adapters import shake
from tests.support.chat_models import END, EOS, write_model
from tests.support.silent_faults import HUB

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.problem import Problem
    from everlearn.training.models.adapted_base import Policy
    from everlearn.training.supervised import Pair

DOMAIN = load_domain("arithmetic")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose output layer can prefer a token: with weights as small as usual, an adapter alone cannot."""
    folder = write_model(tmp_path_factory.mktemp("chat"))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 40
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def problem(statement: str, reference: str | None) -> Problem:
    return replace(DOMAIN.problem(statement), reference=reference)


PROBLEMS = tuple(problem(f"{number} + 3", str(number + 3)) for number in range(2, 6))


def job(base: Path, out: Path, problems: tuple[Problem, ...] = PROBLEMS, *, epochs: int = 60) -> SupervisedJob:
    return SupervisedJob(
        base=base,
        adapter=None,
        problems=problems,
        settings=SupervisedSettings(epochs=epochs, rows=4, rate=5e-3),
        learn=LearnSettings(rank=16, alpha=64),
        threads=1,
        out=out,
        form=FormatSettings(name="chat", max_tokens=8),
    )


def solver_of(policy: Policy, form: ChatFormat) -> Solver:
    return Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)


def test_reference_answers_are_learned(base: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    made = learn_answers(job(base, tmp_path / "a"), on_step=lambda *point: seen.append(point))
    assert (made.used, made.refused) == (4, 0)
    assert made.losses[-1] < made.losses[0] / 4
    assert seen[-1] == (60, 60, "epoch 60 of 60")
    assert made.adapter is not None
    policy = load_policy(base, made.adapter)
    form = choose_format(policy, DOMAIN, FormatSettings(name="chat", max_tokens=8))
    solver = Solver(policy=policy, model=policy.snapshot(), domain=DOMAIN, form=form)
    groups = attempt(solver, PROBLEMS, group=1, seed=1, greedy=True)
    assert sum(group.passed for group in groups) == 4


@pytest.mark.parametrize("compute", [ComputeSettings(), HUB])
def test_the_loss_and_its_gradient_are_those_of_the_answers_tokens(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: ComputeSettings
) -> None:
    start = shake(load_policy(base, rank=16, alpha=64), seed=1, size=0.02).save(tmp_path / "start")
    gradients: list[torch.Tensor] = []
    clip = torch.nn.utils.clip_grad_norm_

    def keep_and_clip(parameters: list[torch.Tensor], max_norm: float) -> torch.Tensor:
        gradients.extend(each.grad.clone() for each in parameters if each.grad is not None)
        return clip(parameters, max_norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", keep_and_clip)
    given = replace(job(base, tmp_path / "a", epochs=1), adapter=start, compute=compute)
    [loss] = learn_answers(given).losses

    policy = load_policy(base, start)
    form = choose_format(policy, DOMAIN, given.form)
    assert isinstance(form, ChatFormat)
    pairs = demonstrations(solver_of(policy, form), PROBLEMS)
    expected, by_name = cross_entropy(base, start, pairs)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert loss != pytest.approx(cross_entropy(base, start, [([], prompt + answer) for prompt, answer in pairs])[0])
    names = [f"base_model.model.{name}.lora_{side}.default.weight" for name in sorted(policy.lora) for side in "AB"]
    assert all(by_name[name].abs().max() > 0 for name in names)
    torch.testing.assert_close(gradients, [by_name[name] for name in names], atol=1e-5, rtol=1e-4)


def cross_entropy(base: Path, adapter: Path, pairs: list[Pair]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the mean loss of the pairs' second tokens and its gradients, computed with transformers and peft."""
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, adapter, is_trainable=True).eval()
    losses = []
    for prompt, answer in pairs:
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, :-1]
        labels = torch.tensor([*[-100] * len(prompt), *answer])[1:]
        losses.append(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="none"))
    loss = torch.cat(losses).sum() / sum(len(answer) for _, answer in pairs)
    loss.backward()
    return float(loss.detach()), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def test_the_same_job_gives_the_same_bits(base: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        learn_answers(job(base, tmp_path / name, epochs=2))
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_only_right_answers_of_bounded_length_are_learned(base: Path, tmp_path: Path) -> None:
    given = (
        problem("4 + 4", "8"),
        problem("4 + 5", "10"),
        problem("4 + 6", None),
        problem("5 + 6", "Let me count: 5, 6, 7, 8, 9, 10, 11"),
    )
    made = learn_answers(job(base, tmp_path / "a", given, epochs=1))
    assert (made.used, made.refused) == (1, 2)
    none = learn_answers(job(base, tmp_path / "b", given[2:3], epochs=1))
    assert (none.adapter, none.used, none.losses) == (None, 0, ())


def test_an_answer_beyond_the_context_is_not_learned(base: Path) -> None:
    policy = load_policy(base)
    form = choose_format(policy, DOMAIN, FormatSettings(name="chat", max_tokens=8))
    assert isinstance(form, ChatFormat)
    [(prompt, answer)] = demonstrations(solver_of(policy, form), [PROBLEMS[0]])
    for room, used in ((len(answer), 1), (len(answer) - 1, 0)):
        narrow = replace(policy, context=len(prompt) + room)
        assert len(demonstrations(solver_of(narrow, form), [PROBLEMS[0]])) == used


def test_a_demonstration_ends_as_the_template_ends_an_answer(base: Path) -> None:
    policy = load_policy(base)
    form = choose_format(policy, DOMAIN, FormatSettings(name="chat", max_tokens=8))
    assert isinstance(form, ChatFormat)
    [(prompt, answer)] = demonstrations(solver_of(policy, form), [problem("4 + 4", "8")])
    assert prompt == form.prompt(problem("4 + 4", None), rng=None).ids  # type: ignore[arg-type]
    assert answer[-1] == END
    assert form.answer(Completion(ids=answer, logprobs=[], finished=True)) == "8"


def test_a_model_without_a_template_ends_with_its_end_token(tmp_path: Path) -> None:
    policy = load_policy(write_model(tmp_path, template=None))
    form = choose_format(policy, DOMAIN, FormatSettings(name="chat", max_tokens=8))
    assert isinstance(form, ChatFormat)
    [(_, answer)] = demonstrations(solver_of(policy, form), [problem("4 + 4", "8")])
    assert answer[-1] == EOS
    assert form.answer(Completion(ids=answer, logprobs=[], finished=True)) == "8"


def test_a_base_that_has_changed_is_refused_before_the_first_gradient(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    given = replace(job(tmp_path / "base", tmp_path / "a", epochs=1), base_identity=fingerprint(base))
    assert learn_answers(given).used == 4
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="are not those that the night was opened with"):
        learn_answers(replace(given, out=tmp_path / "b"))
    assert not (tmp_path / "b").exists()


def test_a_silent_fault_is_refused_before_the_first_gradient(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base")
    given = replace(job(folder, tmp_path / "a", epochs=1), compute=HUB)
    kept = load_policy(folder, compute=HUB).base_model
    assert isinstance(kept, HubModel)
    kept.module.model.layers[0].mlp.register_forward_hook(lambda _, __, out: torch.dropout(out, 0.5, train=True))
    steps: list[int] = []
    with pytest.raises(ModelError, match="dropout is on"):
        learn_answers(given, on_step=lambda step, *_: steps.append(step))
    assert not steps


def test_a_model_without_any_end_token_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", template=None)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            kept = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({key: kept[key] for key in kept if not key.startswith("eos_token")}))
    with pytest.raises(ModelError, match="end token"):
        learn_answers(job(folder, tmp_path / "a", epochs=1))


def test_a_notation_without_words_is_refused(tiny: Path, tmp_path: Path) -> None:
    integral = load_domain("integration").problem({"statement": "2*x", "reference": "x^2"})
    given = job(tiny, tmp_path / "a", (integral,), epochs=1)
    with pytest.raises(SettingsError, match=r"set format\.name to chat"):
        learn_answers(replace(given, form=FormatSettings()))
