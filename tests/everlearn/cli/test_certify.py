"""`domain certify`: what is found is printed, stored with a signature, and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from everlearn.cli import certify
from everlearn.domains.certification import attack_trial
from tests.support.certified_domains import SOUND, with_accepts
from tests.support.plugins import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.everlearn.cli.conftest import Ended

QUICK = ("--seconds", "60", "--learning", "0.5")


@pytest.fixture(autouse=True)
def _few_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_trial, "PROBLEMS", 40)
    monkeypatch.setattr(attack_trial, "ENOUGH", 3100)
    monkeypatch.setattr(certify, "PAUSE_S", 0.0)


def install_doubles(folder: Path, patch: pytest.MonkeyPatch, source: str = SOUND) -> None:
    install(folder, patch, name="doubles", source=source, member="Doubles")


def test_a_sound_domain_is_certified_once(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_doubles(tmp_path, monkeypatch)
    made = everlearn("domain", "certify", "doubles", *QUICK, "--json")
    assert made.code == 0
    facts: dict[str, Any] = made.facts
    assert {"domain", "attacks", "false_accepts", "false_accept_upper", "guess_rate", "allowed"} <= set(facts)
    assert facts["allowed"]
    assert facts["stored"]
    assert facts["learned"]["rollouts"] > 0
    again = everlearn("domain", "certify", "doubles", "--json")
    assert again.facts["created"] == facts["created"], "the code is the same, so nothing is attacked"
    shown = everlearn("domain", "certify", "doubles")
    assert "may be trained on" in shown.out
    assert "near misses" in shown.out


def test_each_domain_of_a_mixture_is_certified_alone(everlearn: Callable[..., Ended]) -> None:
    ended = everlearn("domain", "certify", "arithmetic+equations")
    assert ended.code == 2
    assert "each needs a certificate of its own: name one of arithmetic, equations" in " ".join(ended.err.split())


def test_a_domain_that_can_be_cheated_is_refused(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_doubles(tmp_path, monkeypatch, with_accepts("return str(number) in answer"))
    ended = everlearn("domain", "certify", "doubles", *QUICK)
    assert ended.code == 1
    assert "may not be trained on" in ended.out
    assert "wrong answers" in ended.out
    assert "banana" in ended.out, "the answers that were accepted are shown"


def test_a_domain_without_a_generator_needs_rows(
    everlearn: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_doubles(tmp_path, monkeypatch, SOUND.replace("def generate", "def make"))
    refused = everlearn("domain", "certify", "doubles", *QUICK)
    assert refused.code == 2
    assert "--problems" in refused.err
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"problem": "{number}"}}\n' for number in range(30, 60)))
    assert everlearn("domain", "certify", "doubles", "--problems", str(rows), *QUICK).code == 0


def test_progress_is_shown_every_few_seconds_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = certify._progress()
    show(1, 2)
    monkeypatch.setattr(certify, "PAUSE_S", 3600.0)
    show(2, 2)
    assert capsys.readouterr().err.count("wrong answers judged") == 1


def test_without_a_registry_the_certificate_is_printed_and_not_stored(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_doubles(tmp_path, monkeypatch)
    params.write_text(params.read_text() + "certification: {max_guess_rate: 0.0}\n")
    params.write_text(params.read_text().replace("store: {", "store: {endpoint_url: 'http://127.0.0.1:9', "))
    ended = everlearn("domain", "certify", "doubles", *QUICK, "--json")
    assert ended.facts["stored"] is False
    assert "will not be stored" in ended.err


def test_without_a_private_key_the_certificate_is_printed_and_not_stored(
    everlearn: Callable[..., Ended], params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_doubles(tmp_path, monkeypatch)
    params.write_text(params.read_text().replace("signing: {", f"signing: {{trusted: ['{'a' * 64}'], "))
    text = params.read_text()
    start = text.index("key_file: ")
    params.write_text(text[:start] + text[text.index("}", start) :])
    for _ in range(2):
        ended = everlearn("domain", "certify", "doubles", *QUICK, "--json")
        assert ended.code == 0, "nothing unsigned was stored that the second run would refuse"
        assert ended.facts["stored"] is False
        assert "the certificate is not stored: " in ended.err
        assert "is not signed" in ended.err
