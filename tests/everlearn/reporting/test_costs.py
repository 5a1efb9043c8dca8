"""The sentences about what a night cost, and what retraining would have cost."""

from __future__ import annotations

from dataclasses import replace

from everlearn.gate.decision import judge
from everlearn.reporting.costs import cost_notes, retraining_notes, step_money
from everlearn.reporting.night_record import StepTime
from everlearn.settings import GateSettings, PriceSettings
from tests.support.paired_suites import IMPROVED

DECISION = judge([IMPROVED], settings=GateSettings())
TRAIN = StepTime(name="train", seconds=900, cpu_seconds=1800, tokens=12_000)
REST = StepTime(name="recheck", seconds=10, cpu_seconds=0)


def test_time_and_tokens_are_said_for_the_night_and_each_solved_problem() -> None:
    assert cost_notes([TRAIN, REST], DECISION, prices=PriceSettings()) == (
        "The night cost 0.50 CPU hours and 12,000 sampled tokens; each of the 50 newly solved held-out problems 36 CPU s.",
    )


def test_prices_turn_costs_into_money() -> None:
    on_gpu = replace(TRAIN, gpu_seconds=720)
    prices = PriceSettings(currency="EUR", cpu_hour=0.1, gpu_hour=2.0)
    [said] = cost_notes([on_gpu], DECISION, prices=prices)
    assert said.startswith(
        "The night cost 0.50 CPU hours, 0.20 GPU hours and 12,000 sampled tokens: 0.45 EUR; each of the 50"
    )
    assert said.endswith("newly solved held-out problems 36 CPU s and 14 GPU s, 0.009 EUR.")


def test_energy_is_said_where_the_machine_tells_it_and_may_have_a_price() -> None:
    measured = replace(TRAIN, joules=1.8e6)
    [said] = cost_notes([measured], DECISION, prices=PriceSettings(kilowatt_hour=0.3))
    assert said.startswith(
        "The night cost 0.50 CPU hours, 12,000 sampled tokens and 0.5 kWh of processors and GPUs: 0.15 USD;"
    )


def test_nothing_is_said_per_problem_or_at_all_where_there_is_nothing() -> None:
    nothing = replace(DECISION, rows=())
    assert cost_notes([replace(TRAIN, tokens=0)], nothing, prices=PriceSettings()) == (
        "The night cost 0.50 CPU hours.",
    )
    assert cost_notes([REST], DECISION, prices=PriceSettings()) == ()


def test_each_step_has_its_money_where_there_are_prices() -> None:
    assert step_money([TRAIN, REST], PriceSettings(cpu_hour=0.1)) == {"train": 0.05, "recheck": 0.0}
    assert step_money([TRAIN, REST], PriceSettings()) == {}


def test_retraining_costs_the_learning_of_all_ancestors_once_more() -> None:
    ladder = replace(TRAIN, name="ladder", cpu_seconds=1800, gpu_seconds=360)
    [said] = retraining_notes(
        [TRAIN, REST], [[ladder, TRAIN, REST], [TRAIN]], prices=PriceSettings(currency="EUR", cpu_hour=0.1, gpu_hour=1)
    )
    assert said == (
        "Learning cost 0.50 CPU hours or 0.05 EUR tonight; retraining in full would have cost 2.00 CPU hours and 0.10 GPU hours or "
        "0.3 EUR. That is the sum of the steps supervised, ladder, anchors and train of this night and of its 2 ancestors: it assumes the same "
        "steps from the base model, on all data so far."
    )


def test_retraining_says_which_ancestors_are_not_known() -> None:
    [said] = retraining_notes([TRAIN], [[TRAIN], [REST]], prices=PriceSettings())
    assert "would have cost 1.00 CPU hours." in said
    assert "of 1 of its 2 ancestors, the others have no step times:" in said
    assert "of its ancestor:" in retraining_notes([TRAIN], [[TRAIN]], prices=PriceSettings())[0]
    for tonight, ancestors in (([TRAIN], []), ([TRAIN], [[REST]]), ([REST], [[TRAIN]])):
        assert retraining_notes(tonight, ancestors, prices=PriceSettings()) == ()
