"""In-context learning as a baseline: which examples a prompt gets, and what is measured with them."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.problem import Answer
from everlearn.settings import FormatSettings
from everlearn.training import in_context
from everlearn.training.context_results import Choice, ContextResult, requests_until_cheaper
from everlearn.training.evaluation import measure
from everlearn.training.in_context import ExampleIndex, measure_in_context
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = load_domain("integration")
TEXTS = ("2*x", "3*x^2", "cos(x)", "cos(2*x)", "exp(x)", "5*x^4")
SOLVED = [Answer(problem=DOMAIN.stated(text), text=str(DOMAIN.solve(DOMAIN.stated(text)))) for text in TEXTS]
RESULT = ContextResult(
    policy="base",
    examples=0,
    choice=Choice.NONE,
    right=(True, False),
    prompt_tokens=10,
    answer_tokens=5,
    seconds=1.0,
    cpu_seconds=1.0,
)


@given(
    asked=st.sampled_from(TEXTS),
    count=st.integers(0, 8),
    choice=st.sampled_from([Choice.RANDOM, Choice.SIMILAR]),
    seed=st.integers(0, 99),
)
def test_a_prompt_has_different_examples_and_never_the_problem_itself(
    asked: str, count: int, choice: Choice, seed: int
) -> None:
    problem = DOMAIN.stated(asked)
    chosen = ExampleIndex([*SOLVED, *SOLVED]).choose(problem, count=count, choice=choice, seed=seed)
    statements = [each.problem.statement for each in chosen]
    assert len(statements) == len(set(statements)) == min(count, len(TEXTS) - 1)
    assert asked not in statements
    assert chosen == ExampleIndex([*SOLVED, *SOLVED]).choose(problem, count=count, choice=choice, seed=seed)


def test_the_most_similar_example_stands_last() -> None:
    chosen = ExampleIndex(SOLVED).choose(DOMAIN.stated("cos(3*x)"), count=2, choice=Choice.SIMILAR, seed=0)
    assert [each.problem.statement for each in chosen] == ["cos(x)", "cos(2*x)"]


def test_without_examples_the_answers_are_those_of_a_measurement(shipped: Path) -> None:
    problems = [DOMAIN.stated(text) for text in ("x + sin(x)", "exp(x) - 3*x^2 + cos(x)", "7*x^3")]
    (result,) = measure_in_context(
        shipped, None, problems, SOLVED, policy="base", counts=[0], seed=3, threads=1, progress=lambda *_: None
    )
    measured = measure(shipped, None, problems, seed=3, threads=1)
    assert list(result.right) == [each.verdict.is_correct for each in measured]
    assert result.accuracy == 1
    assert min(result.prompt_tokens, result.answer_tokens) > 5
    assert result.cpu_seconds > 0


def test_nothing_is_measured_on_no_problems(tiny: Path) -> None:
    assert list(measure_in_context(tiny, None, [], SOLVED, policy="base", counts=[0, 2], seed=3, threads=1)) == []


def test_more_examples_make_longer_prompts_and_what_does_not_fit_is_left_out(tiny: Path) -> None:
    problems = [DOMAIN.stated(text) for text in ("2*x", "4*x + 1")]
    many = [
        replace(each, problem=DOMAIN.stated(f"{number}*x + {text}"))
        for number in range(2, 30)
        for text, each in zip(TEXTS, SOLVED, strict=True)
    ]
    results = list(
        measure_in_context(
            tiny, None, problems, [*SOLVED, *many], policy="base", counts=[0, 2, 100, 1000], seed=3, threads=1
        )
    )
    shown = [(each.examples, each.choice) for each in results]
    assert shown == [(0, Choice.NONE), (2, Choice.RANDOM), (2, Choice.SIMILAR)]
    none, *two = results
    assert all(each.prompt_tokens > none.prompt_tokens + 10 for each in two)


def test_the_largest_number_of_examples_that_fits_is_found_for_each_choice(tiny: Path) -> None:
    problems = [DOMAIN.stated(text) for text in ("2*x", "4*x + 1")]
    many = [replace(SOLVED[0], problem=DOMAIN.stated(f"{number}*x + {TEXTS[1]}")) for number in range(2, 40)]
    measure_up_to = partial(
        measure_in_context, tiny, None, problems, [*SOLVED, *many], policy="base", seed=3, threads=1
    )
    told: list[tuple[int, int]] = []
    *fixed, of_random, of_similar = measure_up_to(
        counts=[0, 1], up_to_window=True, progress=lambda *each: told.append(each)
    )
    assert told[0] == (0, 17), "three counts, and two of at most six trials and a count"
    assert [done for done, _ in told] == sorted({done for done, _ in told}), "each trial is told"
    assert told[-1] == (16, 17)
    assert len(told) > 5 + 4
    assert [(each.examples, each.is_largest) for each in fixed] == [(0, False), (1, False), (1, False)]
    for largest, choice in ((of_random, Choice.RANDOM), (of_similar, Choice.SIMILAR)):
        assert (largest.choice, largest.is_largest) == (choice, True)
        again = {
            each.examples
            for each in measure_up_to(counts=[largest.examples, largest.examples + 1])
            if each.choice == choice
        }
        assert again == {largest.examples}, "one more does not fit"
        wanted = [each for each in measure_up_to(counts=[largest.examples], up_to_window=True) if each.choice == choice]
        assert [(each.examples, each.is_largest) for each in wanted] == [(largest.examples, True)], "measured once"


def test_no_largest_number_is_looked_for_where_the_model_states_no_window(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(in_context, "context_of", lambda _: None)
    problems = [DOMAIN.stated("2*x")]
    results = measure_in_context(
        tiny, None, problems, SOLVED, policy="base", counts=[1], up_to_window=True, seed=3, threads=1
    )
    assert [(each.examples, each.is_largest) for each in results] == [(1, False), (1, False)]
    assert "no window in the config" in caplog.text


@pytest.mark.parametrize(("known", "examples"), [(3, [3, 3]), (0, [])])
def test_no_more_examples_are_shown_than_are_solved(tiny: Path, known: int, examples: list[int]) -> None:
    results = measure_in_context(
        tiny,
        None,
        [DOMAIN.stated("7*x")],
        SOLVED[:known],
        policy="base",
        counts=[],
        up_to_window=True,
        seed=3,
        threads=1,
    )
    assert [each.examples for each in results if each.is_largest] == examples


def test_the_demos_notation_repeats_the_markers_in_its_examples(shipped: Path) -> None:
    form = choose_format(load_policy(shipped), DOMAIN, FormatSettings())
    sums = DOMAIN.stated("2*x + cos(x)")
    solved = [Answer(problem=sums, text="x^2 + sin(x)"), Answer(problem=sums, text="sin(x) + x^2 + 7 + C")]
    text = form.prompt(DOMAIN.stated("3*x"), rng=random.Random(0), solved=solved).text
    asked, answer = text.split("INT")[1].split("=")
    assert [part.split(">")[0] for part in asked.split("<")[1:]] == [
        part.split(">")[0] for part in answer.split("<")[1:]
    ]
    assert "= sin(x) + x^2 + 7 + C" in text
    plain = form.prompt(DOMAIN.stated("3*x"), rng=random.Random(0)).ids
    shown = form.prompt(DOMAIN.stated("3*x"), rng=random.Random(0), solved=solved).ids
    assert form.max_tokens(shown) == form.max_tokens(plain) == 16 + len(plain) * 3 // 2


def test_a_result_is_the_same_after_being_stored() -> None:
    assert ContextResult.from_content(RESULT.to_content()) == RESULT


@pytest.mark.parametrize(
    ("accuracy", "seconds", "expected"),
    [((True, True), 3.0, 50.0), ((False, False), 3.0, None), ((True, True), 1.0, None)],
)
def test_requests_are_counted_until_an_adapter_is_cheaper(
    accuracy: tuple[bool, ...], seconds: float, expected: float | None
) -> None:
    context = replace(RESULT, right=accuracy, cpu_seconds=seconds)
    assert requests_until_cheaper([context], RESULT, paid=100.0) == expected
