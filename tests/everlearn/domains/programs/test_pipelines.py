"""Pipelines: their words, what they compute, and code that does the same in the sandbox."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.programs import drawn_pipelines
from everlearn.domains.programs.call_inputs import cases_of, wide_lists
from everlearn.domains.programs.drawn_pipelines import draw_pipeline
from everlearn.domains.programs.hidden_tests import Case
from everlearn.domains.programs.judgement import judge
from everlearn.domains.programs.neighbours import neighbours, telling_cases, witness
from everlearn.domains.programs.pipelines import MOST_STEPS, Pipeline, behaviour, code_of, pipeline_of, require_pipeline
from everlearn.domains.programs.steps import FORMS, Kind
from everlearn.errors import GrammarError

SUM = "def f(xs): keep the even numbers, square each number, return the sum of the numbers"
pipelines = st.builds(
    lambda seed, steps: draw_pipeline(random.Random(seed), steps=steps),
    st.integers(0, 10**6),
    st.integers(1, MOST_STEPS),
)


@pytest.mark.parametrize(
    "text",
    [
        SUM,
        "def f(xs): Keep the even numbers; then square each number and return the sum of the numbers.",
        "Keep the even numbers. Square each number, and then return the sum of the numbers\ndef f(xs: list[int]):",
    ],
)
def test_steps_are_read_in_several_forms(text: str) -> None:
    assert str(require_pipeline(text)) == SUM


@pytest.mark.parametrize(
    "text",
    [
        "def f(xs): keep the even numbers, square each number",
        "def f(xs): return the sum of the numbers, square each number",
        "def f(xs): keep the even numbers, return the list of words",
        "def f(xs): keep the first 1 numbers, return the list of numbers",
        "def f(xs): keep the first 10 numbers, return the list of numbers",
        "def f(xs): keep the first 03 numbers, return the list of numbers",
        "def f(xs): keep the nice numbers, return the list of numbers",
        "def f(xs, ys): keep the even numbers, return the list of numbers",
        "def f(): return the list of numbers",
        "def f(xs): " + "square each number, " * 3 + "return the list of numbers",
        "def f(xs): " + "add 1 to each number, " * MOST_STEPS + "return the list of numbers",
    ],
)
def test_other_words_are_no_pipeline(text: str) -> None:
    assert pipeline_of(text) is None
    with pytest.raises(GrammarError, match="no pipeline"):
        require_pipeline(text)


@given(pipelines)
@settings(max_examples=30, deadline=None)
def test_a_pipeline_is_read_as_it_is_written(pipeline: Pipeline) -> None:
    assert require_pipeline(str(pipeline)) == pipeline
    assert not any(isinstance(pipeline.result(each), bool) for each in ((), *wide_lists(pipeline.takes)[:5]))


@pytest.mark.parametrize(
    ("words", "given", "result"),
    [
        ("keep the odd numbers", [-3, -2, 0, 5], [-3, 5]),
        ("keep the even numbers", [-3, -2, 0, 5], [-2, 0]),
        ("keep the numbers greater than 0", [0, 1], [1]),
        ("keep the numbers less than 1", [0, 1], [0]),
        ("keep the numbers divisible by 3", [-3, 0, 1, 9], [-3, 0, 9]),
        ("replace each number n by n % 3", [-1, 4], [2, 1]),
        ("keep only the first of equal numbers", [2, 1, 2], [2, 1]),
        ("replace the numbers by their running totals", [1, 2, 3], [1, 3, 6]),
        ("sort the numbers in descending order", [1, 3, 2], [3, 2, 1]),
        ("drop the first 2 numbers", [1], []),
    ],
)
def test_steps_compute_what_they_say(words: str, given: list[int], result: list[int]) -> None:
    assert require_pipeline(f"def f(xs): {words}, return the list of numbers").result(given) == result


@pytest.mark.parametrize("takes", [Kind.NUMBERS, Kind.WORDS])
def test_every_form_computes_what_its_code_does(takes: Kind) -> None:
    ends = {Kind.NUMBERS: ", return the list of numbers", Kind.WORDS: ", return the list of words", Kind.RESULT: ""}
    steps = [
        f"{form.words.replace('K', str(number))}{ends[form.gives]}"
        for form in FORMS
        if form.takes is takes
        for number in sorted({form.least, form.most})
    ]
    tried = [require_pipeline(f"def f(xs): {words}") for words in steps]
    code = [code_of(pipeline, name=f"f{place}") for place, pipeline in enumerate(tried)]
    source = "\n".join([*code, "def f(place, xs): return globals()[f'f{place}'](xs)"])
    cases = [
        Case(arguments=[place, *case.arguments], result=case.result)
        for place, pipeline in enumerate(tried)
        for case in cases_of(pipeline, seed="", count=8, longest=8)
    ]
    verdict = judge(source, "f", cases)
    assert verdict.is_correct, verdict.reason


def test_results_stay_short_enough_to_be_compared() -> None:
    for words in (
        "square each number, " * 2
        + "multiply each number by 9, " * 5
        + "return the product of the numbers or 1 if there is none",
        "multiply each number by 9, " * 5
        + "square each number, " * 2
        + "return the product of the numbers or 1 if there is none",
        "replace the numbers by their running totals, " * 2
        + "multiply each number by 9, " * 5
        + "return the list of numbers",
        "write each word twice without a space, " * 2 + "return the words joined by single spaces",
    ):
        pipeline = require_pipeline(f"def f(xs): {words}")
        assert behaviour(pipeline, wide_lists(pipeline.takes))
        assert len(cases_of(pipeline, seed="")) > 20


@given(pipelines, st.sampled_from(["", "other"]))
@settings(max_examples=15, deadline=None)
def test_the_tests_tell_a_pipeline_from_all_that_differ_in_a_step(pipeline: Pipeline, seed: str) -> None:
    cases = telling_cases(pipeline, seed=seed)
    alive = [
        variant
        for variant in neighbours(pipeline)
        if all(variant.result(*case.arguments) == case.result for case in cases)
    ]
    assert not (alive and cases)


def test_a_test_is_added_for_a_neighbour_that_would_pass() -> None:
    pipeline = require_pipeline("def f(xs): keep the first 9 numbers, return the smallest number or 0 if there is none")
    few = cases_of(pipeline, seed="", count=2, longest=3)
    assert len(telling_cases(pipeline, seed="", count=2, longest=3)) > len(few) > 0


def test_results_that_hardly_differ_are_no_tests() -> None:
    assert not telling_cases(
        require_pipeline("def f(xs): keep the even numbers, keep the odd numbers, return the list of numbers"), seed=""
    )


def test_neighbours_take_what_the_pipeline_takes() -> None:
    words = "sort the words in alphabetical order, replace each word by its number of letters, square each number"
    found = neighbours(require_pipeline(f"def f(xs): {words}, return the sum of the numbers"))
    assert {each.takes for each in found} == {Kind.WORDS}
    added = neighbours(require_pipeline("def f(xs): add 1 to each number, return the list of numbers"))
    assert "add 2 to each number" in " ".join(map(str, added))
    assert "add 0 to each number" not in " ".join(map(str, added))


def test_drawing_ends_where_no_step_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_pipelines, "_TRIES", 1)
    monkeypatch.setattr(drawn_pipelines, "_STEP_TRIES", 1)
    assert {len(draw_pipeline(random.Random(seed), steps=8).steps) for seed in range(5)} == {8}


def test_a_witness_shows_the_difference() -> None:
    one, other = (
        require_pipeline(f"def f(xs): keep the numbers less than {k}, return the list of numbers") for k in (8, 9)
    )
    found = witness(one, other)
    assert found is not None
    assert 8 in found
    assert witness(one, one) is None


@pytest.mark.parametrize("steps", [-1, 1, 5, 99])
def test_drawn_pipelines_have_as_many_steps(steps: int) -> None:
    for takes in (Kind.NUMBERS, Kind.WORDS):
        drawn = draw_pipeline(random.Random(steps), steps=steps, takes=takes)
        assert (len(drawn.steps), drawn.takes) == (min(max(steps, 1), MOST_STEPS), takes)


def test_almost_no_drawn_pipeline_is_without_tests() -> None:
    rng = random.Random(5)
    drawn = [draw_pipeline(rng, steps=1 + number % 6) for number in range(24)]
    assert sum(not cases_of(pipeline, seed="verify 0") for pipeline in drawn) <= 1
