"""Find the certificate of a domain's present code, and say why no model may be trained on its rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.certification.certificate import PROCEDURE, Certificate
from everlearn.domains.certification.code_version import code_version
from everlearn.domains.certification.shipped import shipped_certificate
from everlearn.domains.contract import load_domain
from everlearn.errors import UncertifiedError

if TYPE_CHECKING:
    from everlearn.registry.certificates import CertificateStore
    from everlearn.settings import CertificationSettings


def find_certificate(kept: CertificateStore, domain: str, *, keep_shipped: bool) -> Certificate | None:
    """Return the certificate of the domain's present code: the line's own, else the shipped one, stored with `keep_shipped`.

    Raises:
        IntegrityError: a stored one is damaged, or not signed with a trusted key.
    """
    code = code_version(load_domain(domain))
    stored = kept.find(domain, code=code, procedure=PROCEDURE)
    if stored is not None:
        return Certificate.from_content(stored)
    shipped = shipped_certificate(domain, code=code)
    if shipped is not None and keep_shipped:
        kept.put(shipped.to_content())
    return shipped


def refusals(certificate: Certificate | None, settings: CertificationSettings) -> tuple[str, ...]:
    """Return why no model may be trained; none if it may."""
    if certificate is None:
        return ("its verifier has no certificate for its present code",)
    return certificate.refusals(settings)


def accepted_refusals(domain: str, certificate: Certificate | None, settings: CertificationSettings) -> tuple[str, ...]:
    """Return why the rewards of a domain are unproved, where the settings accept that; none where they are proved.

    Raises:
        UncertifiedError: they are unproved, and the settings do not accept that.
    """
    reasons = refusals(certificate, settings)
    if reasons and settings.uncertified == "refuse":
        raise UncertifiedError(
            f"domain {domain} may not be trained on: {'; '.join(reasons)}. Run `everlearn domain certify {domain}`, mend its "
            "verifier, or set certification.uncertified to 'train on unproved rewards'"
        )
    return reasons
