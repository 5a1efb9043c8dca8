"""Checks beside the statistics: the published bytes behave like the trained policy, and rewarded answers are correct.

Both inputs are stored reports, kept as JSON in the cycle's workspace: "check/bytes" from a fresh process
(`training.fresh_process`) and "check/rewards" from the second judgement of rewards. The reports hold numbers only; every
tolerance is here. Reports of release 0.1.0 also hold `passed`, which is ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.gate.decision_record import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGPROB_TOLERANCE = 1e-3
"""Largest accepted difference of two float32 forward passes, in nats per token."""
MAX_LENGTH_RATIO = 1.5
LENGTH_SLACK = 8
"""Tokens that the mean answer may always grow by, so that very short answers are not held to the ratio alone."""

NOTHING_REWARDED = (
    "; no answer of the training was right, so there was nothing to learn from: the night needs easier problems, a deeper ladder "
    "(ladder.depth), or a base that solves some of its rungs"
)


def run_checks(bytes_report: Mapping[str, Any], rewards_report: Mapping[str, Any]) -> list[Check]:
    """Return the checks of a candidate. All of them have to pass."""
    was_unrewarded = rewards_report.get("rewarded") == 0 and not rewards_report.get("pseudo")
    return [*_check_bytes(bytes_report, was_unrewarded=was_unrewarded), _check_rewards(rewards_report)]


def _check_bytes(report: Mapping[str, Any], *, was_unrewarded: bool) -> list[Check]:
    if "failed" in report:
        why = f"the uploaded bytes cannot be loaded in a fresh process: {(report['failed'].strip() or 'no message').splitlines()[-1]}"
        return [Check(name="same bytes, same answers", passed=False, sentence=why)]
    effect = _check_effect(report, was_unrewarded=was_unrewarded)
    return [_check_answers(report), effect, _check_finite(report), _check_length(report)]


def _check_answers(report: Mapping[str, Any]) -> Check:
    same, probes, gap = report["same_answers"], report["probes"], report["worst_gap"]
    return Check(
        name="same bytes, same answers",
        passed=same == probes and gap <= LOGPROB_TOLERANCE,
        sentence=f"{same} of {probes} answers of the uploaded bytes in a fresh process equal the trainer's; "
        f"log-probabilities within {gap:.1e} nats a token",
    )


def _check_effect(report: Mapping[str, Any], *, was_unrewarded: bool) -> Check:
    relation = "differ from" if report["changed"] else "are"
    nothing = NOTHING_REWARDED if was_unrewarded else ""
    return Check(
        name="changes the output",
        passed=report["changed"],
        sentence=f"the answers to {report['probes']} probes {relation} the base's{nothing}",
    )


def _check_finite(report: Mapping[str, Any]) -> Check:
    sentence = "all logits are finite" if report["finite"] else "there is NaN or infinity in the logits"
    return Check(name="finite", passed=report["finite"], sentence=sentence)


def _check_length(report: Mapping[str, Any]) -> Check:
    before, after = report["length_before"], report["length_after"]
    return Check(
        name="length",
        passed=after <= MAX_LENGTH_RATIO * max(before, 1.0) + LENGTH_SLACK,
        sentence=f"mean answer {after:.0f} tokens, before {before:.0f}",
    )


def _check_rewards(report: Mapping[str, Any]) -> Check:
    if "no_recheck" in report:
        why = f"not judged a second time: the domain {report['no_recheck']} has no independent method"
        return Check(name="rewards are true", passed=True, sentence=why)
    wrong, undecided = len(report["wrong"]), len(report["undecided"])
    return Check(  # decisions of all revisions store this sentence, and the audit compares it
        name="rewards are true",
        passed=not wrong,
        sentence=f"{wrong} of {report['checked']} different rewarded answers are false at 50 digits, "
        f"{undecided} undecided",
    )
