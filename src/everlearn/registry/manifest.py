"""Manifest of a version: its files by digest, and where they come from.

A manifest does not hold its version number, which the publishing event assigns: after a lost race only that event has
to be rewritten.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from everlearn.errors import BadInputError, IntegrityError
from everlearn.registry.line_keys import is_digest

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
SUFFIXES = (".safetensors", ".json", ".md", ".txt", ".html", ".jsonl", ".model", ".jinja")
ADDED_LATER = ("provenance", "bom", "memory", "certificate", "record", "evidence")
"""Documents that manifests of the first versions of Everlearn do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """Reference to an immutable object: SHA-256, size in bytes, and the store's checksum of a multipart upload.

    Raises:
        IntegrityError: `digest` is not a SHA-256 digest, so that no key can be built from it.
    """

    digest: str
    size: int
    composite: str | None = None

    def __post_init__(self) -> None:
        """Check the digest."""
        if not is_digest(self.digest):
            raise IntegrityError(f"{self.digest!r} is not a SHA-256 digest: expected 64 lower-case hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A candidate or version.

    files                    what consumers receive, by file name
    parent                   name of the version that training began from; None is the base model
    decision                 the gate's decision as JSON
    metrics                  finite numbers
    report, provenance, bom  documents about the version (SLSA, CycloneDX), kept with it but never delivered
    policy                   which forward pass trained it and why, in one line; None in manifests of older revisions
    memory                   problems that guard what its line has learned (`data.memory_suite`), kept in the same way
    certificate              what an attack on the domain's verifier found, kept in the same way; None if there was none
    record                   answers of the best version on each guarded item (`gate.record_of_line`); None without
                             `gate.loss_error: line`
    evidence                 what the decision was made from (`gate.stored_evidence`)

    Raises:
        BadInputError: A file name is a path, or of a type that can hold code.
    """

    files: dict[str, ObjectRef]
    base_fingerprint: str
    parent: str | None
    cycle_key: str
    data_digest: str
    config: dict[str, Any]
    code_version: str
    created: datetime
    metrics: dict[str, float] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    report: ObjectRef | None = None
    provenance: ObjectRef | None = None
    bom: ObjectRef | None = None
    memory: ObjectRef | None = None
    certificate: ObjectRef | None = None
    record: ObjectRef | None = None
    evidence: ObjectRef | None = None
    policy: str | None = None

    def __post_init__(self) -> None:
        """Check the file names."""
        for name in self.files:
            if not _NAME.fullmatch(name) or not name.endswith(SUFFIXES):
                raise BadInputError(
                    f"{name!r} cannot be published: use a plain file name that ends in {', '.join(SUFFIXES)}"
                )

    def to_content(self) -> dict[str, Any]:
        """Return the manifest as JSON values. Absent optional fields are left out, so that old digests stay the same."""
        content = asdict(self) | {"created": self.created.isoformat()}
        for name in (*ADDED_LATER, "policy"):
            if content[name] is None:
                del content[name]
        documents = (content.get(name) or {} for name in ("report", *ADDED_LATER))
        for ref in (*content["files"].values(), *documents):
            if not ref.get("composite"):
                ref.pop("composite", None)
        return content

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """Return the manifest with this content: the inverse of `to_content`.

        Raises:
            IntegrityError: A field is missing, unknown or invalid.
        """
        try:
            documents = {"report": content["report"]} | {name: content.get(name) for name in ADDED_LATER}
            known = {
                "files": {name: ObjectRef(**ref) for name, ref in content["files"].items()},
                "created": datetime.fromisoformat(content["created"]),
            }
            refs = {name: None if ref is None else ObjectRef(**ref) for name, ref in documents.items()}
            return cls(**content | known | refs)
        except (KeyError, TypeError, ValueError, AttributeError, BadInputError) as error:
            raise IntegrityError(
                f"this version of Everlearn cannot read the manifest: {error}; install a newer one"
            ) from None

    def references(self) -> tuple[ObjectRef, ...]:
        """Return every object that the version needs: files and documents."""
        return (*self.files.values(), *self.documents().values())

    def documents(self) -> dict[str, ObjectRef]:
        """Return the documents about the version by field name, those that are present."""
        documents = {"report": self.report} | {name: getattr(self, name) for name in ADDED_LATER}
        return {name: ref for name, ref in documents.items() if ref is not None}
