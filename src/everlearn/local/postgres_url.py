"""The URL of a Postgres database for the local Prefect server: parse it, store it, and show it without its password.

    url = PostgresUrl.parse("postgresql://prefect:secret@db.example:5432/prefect")
    url.redacted        # postgresql://prefect:…@db.example:5432/prefect
    url.save(path)      # mode 0600; `PostgresUrl.load(path)` is its inverse

Whether the database answers is checked by `orchestration.postgres_check`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from everlearn.errors import BadInputError
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path
    from urllib.parse import SplitResult

SCHEMES = ("postgresql", "postgresql+asyncpg")
VARIABLE = "EVERLEARN_POSTGRES"
_FORM = "postgresql://USER:PASSWORD@HOST:5432/NAME"
_SECRETS = ((re.compile(r"(//[^:/@]*):.*@", re.DOTALL), r"\1:…@"), (re.compile(r"(password=)[^&]*"), r"\1…"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A URL in the form that asyncpg reads, password included: never print `url`, print `redacted`."""

    url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a user's URL. BadInputError, without the password, if it does not name a Postgres database."""
        try:
            parts = urlsplit(text.strip())
            _ = parts.port
        except ValueError as error:
            raise BadInputError(f"{redact(text)} is not a URL ({_without_quote(error)}); write {_FORM}") from None
        if parts.scheme not in SCHEMES:
            fault = f"scheme {parts.scheme}: is not supported" if parts.scheme else "it has no scheme"
            raise BadInputError(f"{redact(text)}: {fault}; write {_FORM}")
        if not (parts.hostname or "host" in dict(parse_qsl(parts.query))):
            raise BadInputError(
                f"{redact(text)} names no host; write {_FORM}, and a / or @ in a password as %2F or %40"
            )
        if parts.path in {"", "/"} or parts.fragment:
            raise BadInputError(f"{redact(text)} names no database; write {_FORM}, and a # in a password as %23")
        return cls(url=_join("postgresql", parts, query=_rename(parts.query, "ssl", "sslmode")))

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Return the URL that `save` wrote to `file`; None if there is no such file."""
        try:
            return cls.parse(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    @property
    def redacted(self) -> str:
        """The URL without its password."""
        return redact(self.url)

    @property
    def for_prefect(self) -> str:
        """The URL for SQLAlchemy, which needs the driver's name in the scheme and calls `sslmode` `ssl`."""
        parts = urlsplit(self.url)
        return _join("postgresql+asyncpg", parts, query=_rename(parts.query, "sslmode", "ssl"))

    def save(self, file: Path) -> None:
        """Write the URL to `file`, readable by its owner alone. Where that fails, an earlier URL stays."""
        write_whole(file, self.url.encode(), mode=0o600)


def redact(text: str) -> str:
    """Return a URL, well formed or not, without the password in it."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _without_quote(error: ValueError) -> str:
    """Return urlsplit's message without the part of the URL that it quotes: that may be a part of the password."""
    return str(error).split(" as ")[0].split("'")[0].strip()


def _rename(query: str, before: str, after: str) -> str:
    return urlencode([(after if name == before else name, value) for name, value in parse_qsl(query)], safe="/")


def _join(scheme: str, parts: SplitResult, *, query: str) -> str:
    """Join the parts with `//`, which urlunsplit leaves out before an empty host."""
    return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
