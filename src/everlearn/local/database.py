"""Where the local Prefect server keeps its state: SQLite in its own folder, or the Postgres that somebody named.

    database = Database.read("postgresql://prefect:secret@db.example:5432/prefect")
    database.shown          # postgresql://prefect:…@db.example:5432/prefect
    database.remember(path) # readable by nobody else; `Database.recall(path)` is its inverse

A password is in the URL that is kept and handed to the server, and in nothing that is shown. Leaves out: whether
anything answers there (src/everlearn/orchestration/postgres.py asks).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path
    from urllib.parse import SplitResult

SCHEMES = ("postgresql", "postgresql+asyncpg")
VARIABLE = "EVERLEARN_POSTGRES"
_FORM = "postgresql://USER:PASSWORD@HOST:5432/NAME"
_SECRETS = ((re.compile(r"(//[^:/@]*):.*@", re.DOTALL), r"\1:…@"), (re.compile(r"(password=)[^&]*"), r"\1…"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One Postgres database. `url` is as asyncpg itself reads it, password included, so it is never printed."""

    url: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """What a user wrote. BadInputError, with its password left out, if no Postgres database can be meant."""
        try:
            parts = urlsplit(text.strip())
            _ = parts.port
        except ValueError as error:
            raise BadInputError(f"{shown(text)} is no address ({_plain(error)}); write {_FORM}") from None
        if parts.scheme not in SCHEMES:
            what = f"{parts.scheme}: is not understood" if parts.scheme else "it names no kind of database"
            raise BadInputError(f"{shown(text)}: {what}; write {_FORM}")
        if not (parts.hostname or "host" in dict(parse_qsl(parts.query))):
            raise BadInputError(f"{shown(text)} names no host; write {_FORM}, and a / or @ in a password as %2F or %40")
        if parts.path in {"", "/"} or parts.fragment:
            raise BadInputError(f"{shown(text)} names no database; write {_FORM}, and a # in a password as %23")
        return cls(url=_joined("postgresql", parts, query=_renamed(parts.query, "ssl", "sslmode")))

    @classmethod
    def recall(cls, file: Path) -> Self | None:
        """What `remember` wrote there, if anything."""
        try:
            return cls.read(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return shown(self.url)

    @property
    def for_prefect(self) -> str:
        """The same for SQLAlchemy, which wants the name of the driver and calls sslmode ssl."""
        parts = urlsplit(self.url)
        return _joined("postgresql+asyncpg", parts, query=_renamed(parts.query, "sslmode", "ssl"))

    def remember(self, file: Path) -> None:
        """Keep it for the next start, readable by its owner alone."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            opened.write(self.url)


def shown(text: str) -> str:
    """A URL, well formed or not, without the password in it."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _plain(error: ValueError) -> str:
    """What `urlsplit` complains of, without the piece of the URL that it quotes: that may be a piece of a password."""
    return str(error).split(" as ")[0].split("'")[0].strip()


def _renamed(query: str, before: str, after: str) -> str:
    return urlencode([(after if name == before else name, value) for name, value in parse_qsl(query)], safe="/")


def _joined(scheme: str, parts: SplitResult, *, query: str) -> str:
    """A URL with its two slashes, which the library leaves out before an empty host."""
    return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
