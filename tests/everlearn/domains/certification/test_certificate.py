"""Certificates: what is stored, what they allow, and the code that they are for."""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.canonical_json import canonical, parse
from everlearn.domains.certification.attack_trial import Example, TrialResult
from everlearn.domains.certification.certificate import (
    Certificate,
    LearnedAttack,
    certificate_of,
    upper_limit,
)
from everlearn.domains.certification.code_version import code_version, package_digest
from everlearn.domains.certification.shipped import shipped_certificate, shipped_certificates
from everlearn.domains.contract import load_domain
from everlearn.domains.domain_names import tasks_of
from everlearn.errors import BadInputError, IntegrityError, SandboxError
from everlearn.settings import CertificationSettings
from tests.support.certified_domains import SOUND
from tests.support.plugins import install

if TYPE_CHECKING:
    from pathlib import Path

LEARNED = LearnedAttack(cpu_seconds=60, rollouts=900, rewarded=3, contradicted=0, examples=(("2 + 2", "four"),))


def made(
    *, wrong: int = 5000, accepted: int = 0, guess: float = 0.01, learned: LearnedAttack | None = LEARNED
) -> Certificate:
    result = TrialResult(
        problems=100, right=100, is_finished=True, judged=100, judging_s=1, guess_rate=guess, constant="0"
    )
    result.tried, result.accepted = Counter({"nonsense": wrong}), Counter({"nonsense": accepted})
    result.examples = [Example(kind="nonsense", statement="2 + 2", answer="banana")] if accepted else []
    return certificate_of(
        result,
        domain="arithmetic",
        code="c" * 64,
        created="2026-11-29",
        everlearn="0.1.0",
        seconds=3.14,
        learned=learned,
    )


@pytest.mark.parametrize("certificate", [made(), made(accepted=2), made(learned=None)])
def test_a_certificate_is_read_back_as_it_was(certificate: Certificate) -> None:
    assert Certificate.from_content(parse(canonical(certificate.to_content()), name="")) == certificate


@pytest.mark.parametrize("change", [{"more": 1}, {"learned": {}}, {"examples": [1]}])
def test_a_certificate_with_other_fields_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="cannot read the certificate"):
        Certificate.from_content(made().to_content() | change)


@given(tried=st.integers(1, 20_000), accepted=st.integers(0, 20))
def test_the_upper_limit_is_above_the_share_that_was_seen(tried: int, accepted: int) -> None:
    accepted = min(accepted, tried)
    assert accepted / tried <= upper_limit(accepted, tried) <= 1
    assert upper_limit(0, tried) == pytest.approx(1 - 0.05 ** (1 / tried))


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (made(wrong=2000), "which is no proof of 0.10%"),
        (made(accepted=1), "it accepts 1 wrong answers"),
        (
            made(guess=0.2),
            "the answer '0' is right for 20% of the problems, more than certification.max_guess_rate, 15%",
        ),
        (made(learned=None), "no model was trained against it"),
        (
            made(learned=LearnedAttack(cpu_seconds=1, rollouts=1, rewarded=9, contradicted=2)),
            "found 2 rewarded answers",
        ),
    ],
)
def test_what_is_not_shown_is_not_allowed(certificate: Certificate, reason: str) -> None:
    assert any(reason in refusal for refusal in certificate.refusals())


def test_limits_of_the_settings_decide() -> None:
    assert made().refusals() == ()
    assert made(guess=0.2).refusals(CertificationSettings(max_guess_rate=0.3)) == ()
    assert made().refusals(CertificationSettings(max_false_accepts=0.0001)) != ()


def test_the_code_version_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    before = code_version(load_domain("doubles"))
    assert before == code_version(load_domain("doubles"))
    module = tmp_path / "doubles_plugin.py"
    module.write_text(module.read_text().replace("Double ", "Twice "))
    assert code_version(load_domain("doubles")) != before


def test_the_code_version_covers_a_package_whose_domain_is_in_its_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "doubling"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "verifier.py").write_text("LIMIT = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = package_digest("doubling", libraries=())
    (package / "verifier.py").write_text("LIMIT = 2\n")
    assert package_digest("doubling", libraries=()) != before


def test_the_code_version_changes_with_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOUND.replace('name = "doubles"', 'name = "doubles"\n    libraries = ("numpy", "no-such-library")')
    install(tmp_path, monkeypatch, name="doubles", source=source, member="Doubles")
    domain = load_domain("doubles")
    before = code_version(domain)
    monkeypatch.setattr("everlearn.domains.certification.code_version.version", lambda _: "9.9")
    assert code_version(domain) != before


def test_code_without_source_files_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="doubles", source=SOUND, member="Doubles")
    domain = load_domain("doubles")
    (tmp_path / "doubles_plugin.py").unlink()
    del sys.modules["doubles_plugin"]
    with pytest.raises(BadInputError, match="source files of doubles_plugin cannot be found"):
        code_version(domain)


@pytest.mark.parametrize("name", ["arithmetic", "equations", "integration", "numbers", "programs"])
def test_shipped_certificates_are_for_the_code_that_ships_and_allow_training(name: str) -> None:
    try:
        domain = load_domain(name)
    except SandboxError as error:
        pytest.skip(str(error))
    found = shipped_certificate(name, code=code_version(domain))
    assert found is not None, f"the code of {name} has changed: run `python -m bench.certificates {name}`"
    assert found.refusals() == ()
    assert found.wrong_answers >= 10_000


def test_every_task_of_gym_has_a_certificate_for_the_code_that_ships() -> None:
    tasks = tasks_of("gym")
    changed = [name for name in tasks if shipped_certificate(name, code=code_version(load_domain(name))) is None]
    assert tasks
    assert not changed, "the code has changed: run `python -m bench.certificates gym`"
    allowed = [found for name in tasks if not (found := shipped_certificates()[name]).refusals()]
    assert allowed
    assert all(found.false_accept_upper <= 0.001 for found in allowed)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("game_of_life_halting", r"it accepts \d+ wrong answers"),
        ("puzzle24", "is right for 60% of the problems"),
        ("coin_flip", "is right for 89% of the problems"),
        ("prime_factorization", "its verifier failed on 8 answers: the library's verifier raises ValueError"),
        ("knight_swap", "its problems cannot be made"),
    ],
)
def test_tasks_that_are_known_to_be_bad_are_refused(task: str, reason: str) -> None:
    assert any(re.search(reason, each) for each in shipped_certificates()[f"gym/{task}"].refusals())


def test_a_shipped_certificate_is_for_no_other_code() -> None:
    assert shipped_certificate("integration", code="other") is None
    assert shipped_certificate("chess", code="other") is None
    assert set(shipped_certificates()) >= {"arithmetic", "integration"}
