"""One difference between what is wanted of a Prefect server and what it has, as a line of a diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChange:
    """What is new, other or gone on the server once a plan is applied."""

    name: str
    field: str | None = None
    before: Any = None
    after: Any = None
    gone: bool = False

    def __str__(self) -> str:
        """As a line of a diff."""
        if self.gone:
            return f"- {self.name}"
        if self.field is None:
            return f"+ {self.name}"
        return f"~ {self.name}: {self.field}: {self.before} → {self.after}"
