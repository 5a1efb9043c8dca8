"""Which format a model gets, and which tokens end its answers."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.inputs import config_digest
from everlearn.domains.contract import load_domain
from everlearn.errors import GrammarError, SettingsError
from everlearn.settings import ComputeSettings, FormatSettings, Settings
from everlearn.training.models.formats.chat import ChatFormat
from everlearn.training.models.formats.format_choice import checker, choose_format
from everlearn.training.models.formats.marked import MarkedFormat
from everlearn.training.models.policy import load_policy
from everlearn.training.models.stop_tokens import stop_tokens
from everlearn.training.rollouts import Solver, attempt
from tests.support.chat_models import END, EOS, tokenizer, write_model

if TYPE_CHECKING:
    from pathlib import Path

INTEGRATION, ARITHMETIC = load_domain("integration"), load_domain("arithmetic")
AUTO, MARKED, CHAT = (FormatSettings.model_validate({"name": name}) for name in ("auto", "marked", "chat"))
LONG = INTEGRATION.problem(" + ".join(f"x^{power}" for power in range(1, 26)))


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_the_architecture_decides_unless_a_format_is_set(tiny: Path, tmp_path: Path, policy: str) -> None:
    compute = ComputeSettings.model_validate({"policy": policy})
    demo = load_policy(tiny, compute=compute)
    plain = load_policy(write_model(tmp_path / "plain"), compute=compute)
    assert isinstance(choose_format(demo, INTEGRATION, AUTO), MarkedFormat)
    assert isinstance(choose_format(demo, INTEGRATION, CHAT), ChatFormat)
    assert isinstance(choose_format(demo, ARITHMETIC, AUTO), ChatFormat), "no sums of terms"
    assert isinstance(choose_format(plain, INTEGRATION, AUTO), ChatFormat)
    assert isinstance(choose_format(plain, INTEGRATION, MARKED), MarkedFormat)
    with pytest.raises(SettingsError, match="problems of arithmetic are no sums of terms"):
        choose_format(plain, ARITHMETIC, MARKED)
    assert choose_format(plain, INTEGRATION, AUTO).stops == {EOS, END}


def test_a_problem_is_checked_without_loading_the_model(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(GrammarError, match="25 terms"):
        checker(tiny, AUTO)(INTEGRATION, LONG)
    checker(tiny, CHAT)(INTEGRATION, LONG)
    for unknown in (None, tmp_path, write_model(tmp_path / "plain")):
        checker(unknown, AUTO)(INTEGRATION, LONG)
    (tmp_path / "config.json").write_text("{")
    checker(tmp_path, AUTO)(INTEGRATION, LONG)


@pytest.mark.parametrize(
    ("generation", "config", "stops"),
    [
        (None, {}, {EOS}),
        ({"eos_token_id": 9}, {}, {EOS, 9}),
        ({"eos_token_id": [EOS, 9, 11]}, {"eos_token_id": 12}, {EOS, 9, 11}),
        ({}, {"eos_token_id": 12}, {EOS}),
    ],
)
def test_stop_tokens_are_the_tokenizers_and_the_models(
    tmp_path: Path, generation: dict[str, object] | None, config: dict[str, object], stops: set[int]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert stop_tokens(tmp_path, tokenizer()) == stops


def test_a_tokenizer_without_end_has_the_models(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": [7]}')
    silent = tokenizer()
    silent.eos_token = None
    assert stop_tokens(tmp_path, silent) == {7}


def test_a_format_changes_the_key_only_where_it_is_set() -> None:
    assert config_digest(Settings()) == config_digest(Settings(format=AUTO))
    assert config_digest(Settings()) != config_digest(Settings(format=CHAT))


@pytest.mark.parametrize("policy", ["fast", "hub"])
def test_a_chat_model_answers_within_its_limit_and_stops(tmp_path: Path, policy: str) -> None:
    loaded = load_policy(write_model(tmp_path), compute=ComputeSettings.model_validate({"policy": policy}))
    form = choose_format(loaded, ARITHMETIC, FormatSettings(max_tokens=40))
    solver = Solver(policy=loaded, model=loaded.snapshot(), domain=ARITHMETIC, form=form)
    problems = [ARITHMETIC.generate(random.Random(seed)) for seed in range(4)]
    groups = attempt(solver, problems, group=16, seed=1, temperature=3.0)
    rows = [(row, answer) for group in groups for row, answer in zip(group.completions, group.answers, strict=True)]
    ends = {row.ids[-1] for row, _ in rows if row.finished}
    assert ends == {EOS, END}
    assert all(not {EOS, END} & set(row.ids[:-1]) and len(row.ids) <= 40 for row, _ in rows)
    assert all(answer == "" for row, answer in rows if not row.finished)
    assert {row.finished for row, _ in rows} == {True, False}
