"""The trial of a verifier: a sound one passes, and each planted fault is found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.certification import attack_trial
from everlearn.domains.certification.attack_trial import AttackTrial, TrialResult, samples_to_attack
from everlearn.domains.certification.certificate import Certificate, LearnedAttack, certificate_of
from everlearn.domains.contract import load_domain
from everlearn.domains.contract_laws import ContractSample
from tests.support.certified_domains import FAULTS, SOUND, with_accepts
from tests.support.plugins import install, install_passwords

if TYPE_CHECKING:
    from pathlib import Path

HARMLESS = LearnedAttack(cpu_seconds=60, rollouts=1000, rewarded=10, contradicted=0)
ENOUGH = 3200
"""Wrong answers that prove a share below 0.1 % if none is accepted."""
REASONS = {
    "accepts everything": "wrong answers",
    "looks for the answer anywhere": "wrong answers",
    "reads digits of every script": "wrong answers",
    "takes the first word": "wrong answers",
    "forgets the sign": "wrong answers",
    "accepts a constant": "'7' is right for 100%",
    "raises": "its verifier failed",
    "never ends": "no verdict within",
    "refuses what is right": "it refuses 100% of right answers",
    "refuses another notation": "in other notation",
    "is slow": "a judgement takes",
}


def test_where_the_problems_are_few_each_is_attacked_again_with_other_answers() -> None:
    domain = load_domain("arithmetic")
    problem = domain.problem("3 + 4")
    samples = [ContractSample(problem=problem, answer="7")]
    first, second = islice(AttackTrial(domain, samples, seconds=9)._rounds(), 2)
    assert first
    assert not {attack.answer for attack in first} & {attack.answer for attack in second}


def certified(source: str, folder: Path, patch: pytest.MonkeyPatch, *, seconds: float = 60) -> Certificate:
    install(folder, patch, name="doubles", source=source, member="Doubles")
    domain = load_domain("doubles")
    samples = samples_to_attack(domain, seconds=10).samples
    result = AttackTrial(domain, samples, seconds=seconds, enough=ENOUGH).run()
    return certificate_of(result, domain="doubles", code="", created="", everlearn="", seconds=1, learned=HARMLESS)


def test_a_sound_verifier_may_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = certified(SOUND, tmp_path, monkeypatch)
    assert found.refusals() == ()
    assert found.false_accepts == 0
    assert found.false_accept_upper < 0.001
    assert all(counts["tried"] > 0 for counts in found.attacks.values())
    assert found.examples == ()


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_each_planted_fault_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_trial, "JUDGED_S", 0.25)
    found = certified(with_accepts(FAULTS[fault]), tmp_path, monkeypatch, seconds=3 if fault == "is slow" else 60)
    assert REASONS[fault] in "; ".join(found.refusals())
    assert found.examples or REASONS[fault] != "wrong answers"


def test_a_domain_without_right_answers_may_not_be_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOUND.replace("return str(2 * int(problem.statement))", "return None")
    assert any(
        reason.startswith("no right answer was shown to be accepted")
        for reason in certified(source, tmp_path, monkeypatch).refusals()
    )


def test_references_are_shown_in_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = load_domain(install_passwords(tmp_path, monkeypatch))
    rows = [{"statement": f"hint {number}", "reference": f"secret{number}"} for number in range(8)]
    samples = [ContractSample(problem=domain.problem(row), answer=row["reference"]) for row in rows]
    result = AttackTrial(domain, samples, seconds=30, enough=200).run()
    assert result.false_accepts
    made = certificate_of(result, domain="", code="", created="", everlearn="", seconds=1, learned=None)
    assert "secret" not in str(made.to_content())
    assert "it was tried on 8 problems: give 20 or more" in made.refusals()


def test_a_trial_whose_time_is_over_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = certified(SOUND, tmp_path, monkeypatch, seconds=0)
    assert not found.is_finished
    assert "the rate of guesses was not measured" in found.refusals()


def test_right_answers_that_were_not_judged_in_time_are_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = with_accepts('import time; time.sleep(0.05); return answer.strip(". ") == str(number)')
    source = slow.replace('return [f"{answer}.", f" {answer}"]', "return [f'{answer}' + ' ' * n for n in range(1, 40)]")
    found = certified(source, tmp_path, monkeypatch, seconds=3)
    assert 0 < found.right_answers < found.problems
    assert (found.refused, found.refused_notations) == (0, 0)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("raise KeyError(size)", "KeyError: 1"),
        ("import time; time.sleep(5)", "TimeoutError: a problem is not made within 0.2 s"),
    ],
)
def test_problems_that_cannot_be_made_are_said(
    body: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_trial, "SECONDS_PER_PROBLEM", 0.2)
    source = SOUND.replace(
        '        return Problem(id="", domain="", statement=str(rng',
        f'        {body}\n        return Problem(id="", domain="", statement=str(rng',
    )
    install(tmp_path, monkeypatch, name="doubles", source=source, member="Doubles")
    made = samples_to_attack(load_domain("doubles"), seconds=10)
    assert (made.samples, made.fault) == ([], fault)


def test_equal_problems_are_tried_once_and_other_threads_have_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOUND.replace("rng.randrange(10 ** (size - 1), 10**size)", "7")
    install(tmp_path, monkeypatch, name="doubles", source=source, member="Doubles")
    with ThreadPoolExecutor(max_workers=1) as executor:
        made = executor.submit(samples_to_attack, load_domain("doubles"), seconds=10).result()
    assert [sample.answer for sample in made.samples] == ["14"]


def test_nothing_is_tried_without_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    assert AttackTrial(load_domain("doubles"), [], seconds=5).run().judged == 0


def test_problems_that_take_long_to_make_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    assert samples_to_attack(load_domain("doubles"), seconds=-1).samples == []
    assert TrialResult().wrong == 0
