"""The certificate of the domain's verifier: required before a night starts, and named by the version that it publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.certification.certificate import PROCEDURE, Certificate, TrainingLimits
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.certification.shipped import shipped_certificate
from everlearn.domains.contract import load_domain
from everlearn.errors import UncertifiedError
from everlearn.registry.connect import open_certificates
from tasks.night import LOG, step_task

if TYPE_CHECKING:
    from everlearn.registry.manifest import ObjectRef
    from everlearn.settings import CertificationSettings, Settings
    from tasks.night import Night


@step_task
def require_certificate(settings: Settings) -> None:
    """Check that a model may be trained on the rewards of the line's domain.

    Raises:
        UncertifiedError: there is no certificate for the domain's present code, or it shows too little, and the settings do
            not accept that.
    """
    reasons = refusals(find_certificate(settings), settings.certification)
    if not reasons:
        return
    if settings.certification.uncertified == "refuse":
        raise UncertifiedError(
            f"domain {settings.domain} may not be trained on: {'; '.join(reasons)}. Run `everlearn domain certify "
            f"{settings.domain}`, mend its verifier, or set certification.uncertified to 'train on unproved rewards'"
        )
    LOG.warning("training on unproved rewards, as set: domain %s: %s", settings.domain, "; ".join(reasons))


def find_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate of the domain's present code: the line's own, else the shipped one, which is then stored.

    Raises:
        IntegrityError: the stored one is damaged, or not signed with a trusted key.
    """
    code, kept = code_version(load_domain(settings.domain)), open_certificates(settings)
    stored = kept.find(settings.domain, code=code, procedure=PROCEDURE)
    if stored is not None:
        return Certificate.from_content(stored)
    shipped = shipped_certificate(settings.domain, code=code)
    if shipped is not None:
        kept.put(shipped.to_content())
    return shipped


def refusals(certificate: Certificate | None, settings: CertificationSettings) -> tuple[str, ...]:
    """Return why no model may be trained; none if it may."""
    if certificate is None:
        return ("its verifier has no certificate for its present code",)
    return certificate.refusals(
        TrainingLimits(max_guess_rate=settings.max_guess_rate, max_false_accepts=settings.max_false_accepts)
    )


def keep_certificate(night: Night) -> ObjectRef | None:
    """Store the signed certificate as an object of the version; None without one."""
    certificate = find_certificate(night.settings)
    if certificate is None:
        return None
    kept = open_certificates(night.settings, store=night.store)
    document = kept.document(certificate.domain, code=certificate.code, procedure=certificate.procedure)
    return night.registry.put_object(document)


def certificate_notes(settings: Settings) -> tuple[str, ...]:
    """Return what the report says about the verifier."""
    certificate = find_certificate(settings)
    reasons = refusals(certificate, settings.certification)
    about = f" {certificate.summary()}." if certificate else ""
    if reasons:
        return (f"Trained on unproved rewards, as set: {'; '.join(reasons)}.{about}",)
    return (f"The verifier of {settings.domain} is certified: {about.strip()}",)
