"""The sentence about context and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.reporting.context_comparison import context_notes, describe_result
from everlearn.training.context_results import Choice, ContextResult

ADAPTER = ContextResult(
    policy="candidate",
    examples=0,
    choice=Choice.NONE,
    right=(True, True, False, False),
    prompt_tokens=20,
    answer_tokens=10,
    seconds=0.5,
    cpu_seconds=0.5,
)
WEAK = replace(
    ADAPTER, policy="parent", examples=1, choice=Choice.RANDOM, right=(False,) * 4, prompt_tokens=40, cpu_seconds=0.7
)
STRONG = replace(WEAK, examples=8, choice=Choice.SIMILAR, right=(True,) * 4, prompt_tokens=180, cpu_seconds=1.5)


def test_policy_examples_accuracy_and_the_cost_of_a_request_are_said() -> None:
    assert describe_result(ADAPTER) == "candidate without examples 50.0% of 4 (20 prompt tokens, 0.500 s a request)"
    assert describe_result(WEAK).startswith("parent with 1 random solved example in the prompt 0.0% of 4")


@pytest.mark.parametrize(
    ("contexts", "paid", "expected"),
    [
        ([WEAK], 900.0, "No context of up to 1 examples does what the adapter does."),
        (
            [WEAK, STRONG],
            900.0,
            "The context does as well and costs more: the adapter has paid for itself after 900 requests.",
        ),
        (
            [WEAK, STRONG],
            0.0,
            "The context does as well, and costs more a request; what the adapter has cost is not known.",
        ),
        ([replace(STRONG, cpu_seconds=0.4)], 900.0, "The context does as well, and costs no more a request."),
    ],
)
def test_the_conclusion_weighs_the_night_against_the_tokens_of_every_request(
    contexts: list[ContextResult], paid: float, expected: str
) -> None:
    [note] = context_notes(contexts, ADAPTER, paid=paid)
    assert note.endswith(expected)
    best = max(contexts, key=lambda each: each.accuracy)
    assert describe_result(best) in note


def test_nothing_is_said_where_no_context_was_measured() -> None:
    assert context_notes([], ADAPTER, paid=1.0) == ()
