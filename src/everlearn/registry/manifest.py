"""What a version is: its files by digest, and everything needed to say where they came from.

A manifest does not know its version number (the event that publishes it gives one), so that the loser of a race
rewrites nothing but that event.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from everlearn.errors import BadInputError, IntegrityError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
SUFFIXES = (".safetensors", ".json", ".md", ".txt", ".html", ".jsonl", ".model", ".jinja")
LATER = ("provenance", "bom")  # fields that manifests of earlier versions of Everlearn do not have


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """Immutable bytes of a line: their SHA-256, their length, and how a store knows them that got them in parts."""

    digest: str
    size: int
    composite: str | None = None

    def __post_init__(self) -> None:
        """Raise IntegrityError for what can be no digest, so that no key is ever built from it."""
        if not _DIGEST.fullmatch(str(self.digest)):
            raise IntegrityError(f"{self.digest!r} is no SHA-256 digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A candidate, complete. `files` are what consumers receive; `parent` is a version's name, or None for the base.

    `decision` is what the gate said, in its own JSON; `metrics` are finite numbers. `report`, `provenance` (SLSA) and
    `bom` (CycloneDX) tell of it, are kept as long, and are never delivered. Raises BadInputError for a file
    name that is a path, or of a kind that can carry code.
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

    def __post_init__(self) -> None:
        """Refuse what must not be delivered."""
        for name in self.files:
            if not _NAME.fullmatch(name) or not name.endswith(SUFFIXES):
                raise BadInputError(f"{name!r} cannot be published: plain names ending in {', '.join(SUFFIXES)} only")

    def to_content(self) -> dict[str, Any]:
        """As JSON values, for a sealed document."""
        content = asdict(self) | {"created": self.created.isoformat()}
        for name in LATER:
            if content[name] is None:
                del content[name]  # as it was before there were any: old manifests keep their digests
        told = (content.get(name) or {} for name in ("report", *LATER))
        for ref in (*content["files"].values(), *told):
            if not ref.get("composite"):
                ref.pop("composite", None)  # the same
        return content

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Self:
        """Inverse of `to_content`. IntegrityError for fields it does not know."""
        try:
            told = {"report": content["report"]} | {name: content.get(name) for name in LATER}
            known = {
                "files": {name: ObjectRef(**ref) for name, ref in content["files"].items()},
                "created": datetime.fromisoformat(content["created"]),
            }
            refs = {name: None if ref is None else ObjectRef(**ref) for name, ref in told.items()}
            return cls(**content | known | refs)
        except (KeyError, TypeError, ValueError, AttributeError, BadInputError) as error:
            raise IntegrityError(f"a manifest that this version of Everlearn cannot read: {error}") from None

    def references(self) -> tuple[ObjectRef, ...]:
        """Every object that has to be there."""
        return (*self.files.values(), *self.documents().values())

    def documents(self) -> dict[str, ObjectRef]:
        """What tells of the version and is no part of it: report, provenance, bill of materials, as far as there are any."""
        told = {"report": self.report, "provenance": self.provenance, "bom": self.bom}
        return {name: ref for name, ref in told.items() if ref is not None}
