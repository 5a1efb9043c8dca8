"""Checks beside the statistics, from the reports that a night stores."""

from __future__ import annotations

from typing import Any

import pytest

from everlearn.gate.checks import run_checks

BYTES: dict[str, Any] = {
    "probes": 12,
    "same_answers": 12,
    "worst_gap": 1e-5,
    "changed": True,
    "finite": True,
    "length_before": 20.0,
    "length_after": 22.0,
}
REWARDS: dict[str, Any] = {"rewarded": 9, "checked": 7, "wrong": [], "undecided": [{}]}


def failed(report: dict[str, Any], rewards: dict[str, Any] = REWARDS) -> list[str]:
    return [check.name for check in run_checks(report, rewards) if not check.passed]


def test_a_sound_candidate_passes_all_checks() -> None:
    checks = run_checks(BYTES, REWARDS)
    names = ["same bytes, same answers", "changes the output", "finite", "length", "rewards are true"]
    assert [check.name for check in checks] == names
    assert failed(BYTES) == []
    assert "0 of 7 different rewarded answers are false at 50 digits, 1 undecided" in checks[-1].sentence


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"same_answers": 11}, "same bytes, same answers"),
        ({"worst_gap": 1.1e-3}, "same bytes, same answers"),
        ({"changed": False}, "changes the output"),
        ({"finite": False}, "finite"),
        ({"length_after": 38.1}, "length"),
    ],
)
def test_each_fault_fails_its_own_check(changes: dict[str, Any], name: str) -> None:
    assert failed(BYTES | changes) == [name]


def test_a_night_without_a_right_answer_says_why_it_changed_nothing() -> None:
    sentences = [run_checks(BYTES | {"changed": False}, REWARDS | each)[1].sentence for each in ({}, {"rewarded": 0})]
    assert sentences[0] == "the answers to 12 probes are the base's"
    assert sentences[1].startswith(f"{sentences[0]}; no answer of the training was right")
    agreed = run_checks(BYTES | {"changed": False}, REWARDS | {"rewarded": 0, "pseudo": 3})[1]
    assert agreed.sentence == sentences[0], "a majority was learned from"


def test_the_tolerances_are_inclusive() -> None:
    assert failed(BYTES | {"worst_gap": 1e-3, "length_after": 38.0}) == []
    assert failed(BYTES | {"length_before": 0.0, "length_after": 9.5}) == []


def test_a_wrong_reward_fails() -> None:
    assert failed(BYTES, REWARDS | {"wrong": [{}]}) == ["rewards are true"]


def test_bytes_that_do_not_load_fail_with_the_last_line() -> None:
    first, rewards = run_checks({"failed": "Traceback\nValueError: cut off\n"}, REWARDS)
    assert not first.passed
    assert first.sentence == "the uploaded bytes cannot be loaded in a fresh process: ValueError: cut off"
    assert rewards.passed


def test_a_report_of_release_0_1_0_is_judged_by_its_numbers() -> None:
    assert failed(BYTES | {"passed": False}) == []


def test_rewards_without_a_second_judgement_pass_and_say_so() -> None:
    check = run_checks(BYTES, REWARDS | {"checked": 0, "undecided": [], "no_recheck": "capitals"})[-1]
    assert check.passed
    assert check.sentence == "not judged a second time: the domain capitals has no independent method"
