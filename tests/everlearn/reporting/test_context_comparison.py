"""The table and the sentence about context and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everlearn.reporting.context_comparison import context_notes, context_rows
from everlearn.reporting.costs import Cost
from everlearn.reporting.night_record import ContextRow
from everlearn.settings import PriceSettings
from everlearn.training.context_results import Choice, ContextResult
from tests.support.night import ROOT

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


CPU = Cost(cpu_seconds=900.0)
FREE = PriceSettings()


def test_rows_hold_what_was_answered_and_what_a_request_costs() -> None:
    assert context_rows([STRONG, ADAPTER]) == (
        ContextRow(policy="parent", examples=8, choice="similar", n=4, right=4, prompt_tokens=180, seconds=0.5),
        ContextRow(policy="candidate", examples=0, choice="none", n=4, right=2, prompt_tokens=20, seconds=0.5),
    )


@pytest.mark.parametrize(
    ("contexts", "paid", "expected"),
    [
        ([WEAK], CPU, "no context of up to 1 example does what the adapter does."),
        (
            [WEAK, STRONG],
            CPU,
            "the context does as well and costs more: the adapter has paid for itself after 900 requests by CPU seconds.",
        ),
        (
            [WEAK, STRONG],
            Cost(),
            "the context does as well, and costs more a request; what the adapter has cost is not known.",
        ),
        ([replace(STRONG, cpu_seconds=0.4)], CPU, "the context does as well, and costs no more a request."),
    ],
)
def test_the_conclusion_weighs_the_night_against_the_tokens_of_every_request(
    contexts: list[ContextResult], paid: Cost, expected: str
) -> None:
    [note] = context_notes(contexts, ADAPTER, paid=paid, prices=FREE)
    assert note == f"Context or weights, on the target: {expected}"


def test_an_adapter_that_answers_nothing_is_never_earned_back() -> None:
    none = replace(ADAPTER, right=(False,) * 4)
    [note] = context_notes([WEAK], none, paid=CPU, prices=FREE)
    assert note.endswith("on the target: the adapter answers none of 4 right, so that no request earns it back.")


def test_the_docs_show_the_note_with_these_figures() -> None:
    [note] = context_notes([WEAK, STRONG], ADAPTER, paid=CPU, prices=FREE)
    page = (ROOT / "docs" / "report.md").read_text().replace("\n> ", " ")
    assert f" {note}\n" in page


def test_the_requests_are_said_in_each_unit_that_is_known() -> None:
    prices = PriceSettings(currency="EUR", cpu_hour=0.36, gpu_hour=3.6)
    paid = Cost(cpu_seconds=900.0, gpu_seconds=300.0, money=0.39)
    context = replace(STRONG, gpu_seconds=0.6)
    [note] = context_notes([context], replace(ADAPTER, gpu_seconds=0.1), paid=paid, prices=prices)
    assert note.endswith("after 900 requests by CPU seconds, 600 requests by GPU seconds, 650 requests by EUR.")


def test_nothing_is_said_where_no_context_was_measured() -> None:
    assert context_notes([], ADAPTER, paid=CPU, prices=FREE) == ()
