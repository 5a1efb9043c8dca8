"""A small model that is trained against a verifier finds its loophole, and the second judgement says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from everlearn.domains.certification import attack_trial
from everlearn.domains.certification.attack_trial import samples_to_attack
from everlearn.domains.contract import load_domain
from everlearn.domains.contract_laws import ContractSample
from everlearn.errors import BadInputError, ModelError
from everlearn.training.certification_run import certify
from everlearn.training.verifier_attack import attack_by_learning
from tests.support.certified_domains import LOOPHOLE, SOUND, with_accepts
from tests.support.plugins import install

if TYPE_CHECKING:
    from pathlib import Path


def test_a_loophole_is_learned_and_contradicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=with_accepts(LOOPHOLE), member="Doubles")
    domain = load_domain("doubles")
    found = attack_by_learning(domain, samples_to_attack(domain, seconds=5).samples, seconds=4)
    assert found.rewarded > 10
    assert found.contradicted is not None
    assert found.contradicted > 10
    assert all(answer.endswith("00") for _, answer in found.examples)


def test_nothing_that_a_sound_verifier_rewards_is_contradicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    domain = load_domain("doubles")
    found = attack_by_learning(domain, samples_to_attack(domain, seconds=5).samples, seconds=1)
    assert found.rollouts >= 128
    assert found.contradicted == 0


def test_without_a_second_judgement_nothing_is_contradicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOUND.replace("def recheck", "def again")
    install(tmp_path, monkeypatch, name="doubles", source=source, member="Doubles")
    monkeypatch.setattr(attack_trial, "PROBLEMS", 30)
    found = certify(load_domain("doubles"), seconds=60, learning_s=0.5, enough=3200)
    assert found.learned is not None
    assert found.learned.contradicted is None


def test_without_time_for_it_no_model_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    monkeypatch.setattr(attack_trial, "PROBLEMS", 30)
    found = certify(load_domain("doubles"), seconds=30, learning_s=0, enough=100)
    assert found.learned is None
    assert "no model was trained against it" in found.refusals()


def test_a_domain_without_problems_cannot_be_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOUND.replace("def generate", "def make")
    install(tmp_path, monkeypatch, name="doubles", source=source, member="Doubles")
    domain = load_domain("doubles")
    with pytest.raises(BadInputError, match="--problems"):
        certify(domain, seconds=30)
    with pytest.raises(ModelError, match="reads none of its problems"):
        attack_by_learning(domain, [], seconds=1)
    given = [ContractSample(problem=domain.problem("21"))]
    assert certify(domain, given, seconds=30, learning_s=0, enough=10).right_answers == 1
