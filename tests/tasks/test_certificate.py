"""A night trains only on a domain whose verifier was shown to be safe, unless its settings say otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from everlearn.cycle.inputs import CycleInputs
from everlearn.domains.certification.certificate import Certificate
from everlearn.domains.certification.shipped import shipped_certificates
from everlearn.errors import UncertifiedError
from everlearn.registry.connect import open_certificates
from everlearn.settings.sections import CertificationSettings
from tasks.certificate import certificate_notes, find_certificates, keep_certificates, require_certificate
from tasks.night import Night
from tests.support.plugins import install_passwords

if TYPE_CHECKING:
    from pathlib import Path

    from everlearn.settings import Settings

INPUTS = CycleInputs(data_digest="d", config_digest="c", parent=None, base_fingerprint="f", code_version="0.1.0")
UNPROVED = CertificationSettings(uncertified="train on unproved rewards")


def test_the_shipped_certificate_is_stored_in_the_line(settings: Settings) -> None:
    require_certificate.fn(settings)
    shipped = shipped_certificates()["integration"]
    stored = open_certificates(settings).find("integration", code=shipped.code, procedure=shipped.procedure)
    assert stored is not None
    assert Certificate.from_content(stored) == shipped
    assert find_certificates(settings) == {"integration": shipped}
    assert certificate_notes(settings)[0].startswith("The verifier of integration is certified: ")


def test_the_version_keeps_the_signed_certificate(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(settings=settings, key="c" * 64, inputs=INPUTS, token=1, started="2026-11-29T00:00:00+00:00")
    kept = keep_certificates(night)
    assert kept is not None
    document = json.loads(night.registry.get_object(kept))
    assert [each["content"]["domain"] for each in document["certificates"]] == ["integration"]
    unknown = settings.model_copy(update={"domain": install_passwords(tmp_path, monkeypatch)})
    assert keep_certificates(replace(night, settings=unknown)) is None


def test_a_domain_without_a_certificate_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changed = settings.model_copy(update={"domain": install_passwords(tmp_path, monkeypatch)})
    with pytest.raises(UncertifiedError, match="Run `everlearn domain certify passwords`"):
        require_certificate.fn(changed)
    accepted = changed.model_copy(update={"certification": UNPROVED})
    require_certificate.fn(accepted)
    assert "training on unproved rewards, as set: domain passwords" in caplog.text
    assert certificate_notes(accepted)[0].startswith(
        "Trained on unproved rewards of passwords, as set: its verifier has no certificate"
    )


def test_the_limits_of_the_settings_decide(settings: Settings) -> None:
    strict = settings.model_copy(update={"certification": CertificationSettings(max_false_accepts=1e-9)})
    with pytest.raises(UncertifiedError, match="too few were tried"):
        require_certificate.fn(strict)
    accepted = UNPROVED.model_copy(update={"max_false_accepts": 1e-9})
    assert "accepted (at most" in certificate_notes(settings.model_copy(update={"certification": accepted}))[0]
