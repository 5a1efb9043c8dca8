"""One difference between a plan and the state of a Prefect server, printed as a line of a diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChange:
    """An object to create (no `field`), a field to change, or an object to delete (`gone`)."""

    name: str
    field: str | None = None
    before: Any = None
    after: Any = None
    gone: bool = False

    def __str__(self) -> str:
        """Return a line that begins with `+`, `~` or `-`."""
        if self.gone:
            return f"- {self.name}"
        if self.field is None:
            return f"+ {self.name}"
        return f"~ {self.name}: {self.field}: {self.before} → {self.after}"
