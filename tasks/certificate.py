"""The certificate of the domain's verifier: required before a night starts, and named by the version that it publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.canonical_json import canonical, parse
from everlearn.domains.domain_names import members_of
from everlearn.registry.connect import open_certificates
from everlearn.registry.domain_certificates import accepted_refusals, find_certificate, refusals
from tasks.night import LOG, step_task

if TYPE_CHECKING:
    from everlearn.domains.certification.certificate import Certificate
    from everlearn.registry.manifest import ObjectRef
    from everlearn.settings import Settings
    from tasks.night import Night


@step_task
def require_certificate(settings: Settings) -> None:
    """Check that a model may be trained on the rewards of the line's domain, of each one of a mixture.

    Raises:
        UncertifiedError: there is no certificate for the present code of a domain, or it shows too little, and the settings do
            not accept that.
    """
    for name, certificate in find_certificates(settings).items():
        if reasons := accepted_refusals(name, certificate, settings.certification):
            LOG.warning("training on unproved rewards, as set: domain %s: %s", name, "; ".join(reasons))


def find_certificates(settings: Settings) -> dict[str, Certificate | None]:
    """Return the certificate of each domain's present code: the line's own, else the shipped one, which is then stored.

    Raises:
        IntegrityError: a stored one is damaged, or not signed with a trusted key.
    """
    kept = open_certificates(settings)
    return {name: find_certificate(kept, name, keep_shipped=True) for name in members_of(settings.domain)}


def keep_certificates(night: Night) -> ObjectRef | None:
    """Store the signed certificates as an object of the version; None without any."""
    kept = open_certificates(night.settings, store=night.store)
    documents = [
        parse(kept.document(each.domain, code=each.code, procedure=each.procedure), name=each.domain)
        for each in find_certificates(night.settings).values()
        if each is not None
    ]
    return night.registry.put_object(canonical({"certificates": documents})) if documents else None


def certificate_notes(settings: Settings) -> tuple[str, ...]:
    """Return the report's sentence about each verifier."""
    notes = []
    for name, certificate in find_certificates(settings).items():
        reasons = refusals(certificate, settings.certification)
        about = f" {certificate.summary()}." if certificate else ""
        if reasons:
            notes.append(f"Trained on unproved rewards of {name}, as set: {'; '.join(reasons)}.{about}")
        else:
            notes.append(f"The verifier of {name} is certified:{about}")
    return tuple(notes)
