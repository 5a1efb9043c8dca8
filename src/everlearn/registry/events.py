"""Events: the immutable entries of a line's history.

The history is a chain: each event holds the digest of the one before it. The state that a chain of events amounts to is
in `line_state`; reading and appending in a store is in `event_log`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from everlearn.errors import BadInputError, IntegrityError


class EventKind(StrEnum):
    """Kinds of events. A reader refuses a kind that it does not know."""

    PUBLISHED = "published"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    INSUFFICIENT = "insufficient"
    NO_NEW_DATA = "no_new_data"
    BARRED = "barred"
    UNBARRED = "unbarred"
    APPROVED = "approved"
    SUITE_CHANGED = "suite_changed"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event before it has a place in the chain.

    Raises:
        BadInputError: `reason` is blank.
    """

    kind: EventKind
    actor: str
    reason: str
    cycle_key: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the reason."""
        if not self.reason.strip():
            raise BadInputError(f"{self.kind} without a reason: give a short one, it is stored in the history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the history.

    sequence   number in the history, from 1
    previous   digest of the event before it; None for the first
    digest     SHA-256 of the event's own sealed bytes; empty before it is sealed
    snapshot   digest of an object with the history before this event, set on some events to shorten a walk
    """

    sequence: int
    previous: str | None
    kind: EventKind
    actor: str
    reason: str
    at: datetime
    cycle_key: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    snapshot: str | None = None
    digest: str = ""

    @property
    def sentence(self) -> str:
        """One line for users: `published v0002 as champion: 12 of 200 more solved`."""
        detail, what = self.detail, str(self.kind).replace("_", " ")
        if "version" in detail:
            what += f" {detail['version']}" + (" as champion" if detail.get("champion") else "")
        elif "from" in detail:
            what += f" {detail['from']} to {detail['to'] or 'the base model'}"
        elif "versions" in detail:
            what += f" {', '.join(detail['versions'])}"
        return f"{what}: {self.reason}"

    def to_content(self) -> dict[str, Any]:
        """Return the event as JSON values, without its digest."""
        content = asdict(self) | {"at": self.at.isoformat(), "kind": str(self.kind)}
        del content["digest"]
        return content

    @classmethod
    def from_content(cls, content: dict[str, Any], *, digest: str) -> Self:
        """Return the event with this content: the inverse of `to_content`.

        Raises:
            IntegrityError: The kind or a field is unknown.
        """
        try:
            known = {"kind": EventKind(content["kind"]), "at": datetime.fromisoformat(content["at"])}
            return cls(**content | known, digest=digest)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"event {digest[:12]} cannot be read by this version of Everlearn ({error}); install a newer one"
            ) from None
