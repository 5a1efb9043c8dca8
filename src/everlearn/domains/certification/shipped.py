"""The certificates of the domains that come with Everlearn, made by `python -m bench.certificates`."""

from __future__ import annotations

import functools
import json
from importlib.resources import files

from everlearn.domains.certification.certificate import PROCEDURE, Certificate


def shipped_certificate(domain: str, *, code: str) -> Certificate | None:
    """Return the certificate of that domain's code, None where the code is another one or none was made."""
    found = shipped_certificates().get(domain)
    return found if found is not None and (found.code, found.procedure) == (code, PROCEDURE) else None


@functools.cache
def shipped_certificates() -> dict[str, Certificate]:
    """Return all shipped certificates by their domain."""
    rows = json.loads(files(__package__).joinpath("shipped.json").read_text(encoding="utf-8"))
    return {row["domain"]: Certificate.from_content(row) for row in rows}
