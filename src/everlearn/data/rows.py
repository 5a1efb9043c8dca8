"""Reading new problems: shards of JSONL in, one row for every line out, good or bad. A line is never a traceback.

    {"id": "a-17", "domain": "integration", "problem": "3*x^2 + sin(2*x)"}

`id` and `domain` may be left out, and `integrand` and `statement` are understood for `problem`. What is wrong with a
row is in its `fault`; whether that stops the night is decided elsewhere. Lines are read with a bound, so that a file
without line breaks costs no memory. Leaves out: Parquet (convert it), and anything that was seen before (snapshot.py).
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO

from everlearn.errors import BadInputError, GrammarError, UnknownDomainError
from everlearn.problem import STATEMENT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from everlearn.domains.contract import Domain

MAX_LINE_BYTES = 64 * 1024
SUFFIXES = (".jsonl", ".ndjson")
_EXCERPT = 80


class RowFault(StrEnum):
    """Why a row goes to quarantine."""

    TOO_LONG = "line too long"
    ENCODING = "not UTF-8"
    UNREADABLE = "not JSON"
    NO_PROBLEM = "no problem in it"
    DOMAIN = "unknown domain"
    GRAMMAR = "outside the grammar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a shard. A good one has a canonical form, a bad one a `fault` and a sentence that explains it.

    `where` is `file:line`; `text` is the beginning of a line that could not be understood.
    """

    where: str
    id: str | None = None
    domain: str | None = None
    statement: str | None = None
    canonical: str | None = None
    fault: RowFault | None = None
    why: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """All rows of all shards that were not seen before, and the digests of those shards."""

    rows: tuple[Row, ...]
    sources: tuple[str, ...]
    seen_files: int

    def to_bytes(self) -> bytes:
        """Header and one row a line; equal intakes are equal bytes."""
        lines = [{"intake": 1, "sources": list(self.sources), "seen_files": self.seen_files}, *map(asdict, self.rows)]
        return "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Intake:
        """Inverse of `to_bytes`."""
        header, *lines = [json.loads(line) for line in data.decode().split("\n") if line]
        rows = tuple(Row(**line | {"fault": RowFault(line["fault"]) if line["fault"] else None}) for line in lines)
        return cls(rows=rows, sources=tuple(header["sources"]), seen_files=header["seen_files"])


def read(path: Path, *, domain: str, load: Callable[[str], Domain], seen: Collection[str] = ()) -> Intake:
    """Read a shard, or all shards directly in a directory, leaving out the files whose digest is in `seen`.

    `domain` is meant where a row names none; `load` finds a domain by name. Raises BadInputError when there is nothing
    to read: no such path, no shard in the directory, only empty files.
    """
    rows: list[Row] = []
    sources: set[str] = set()
    seen_files = 0
    read_domain = _Domains(load)
    for shard in shards(path):
        with _opened(shard) as file:
            source = _digest(file)
            if source in seen or source in sources:
                seen_files += 1
                continue
            sources.add(source)
            file.seek(0)
            rows += [_row(line, f"{shard.name}:{number}", domain, read_domain) for number, line in _lines(file)]
    if not rows and not seen_files:
        raise BadInputError(f"{path} holds no line: write one problem a line, as in {_example(domain)}")
    return Intake(rows=tuple(rows), sources=tuple(sorted(sources)), seen_files=seen_files)


def shards(path: Path) -> list[Path]:
    """The files to read, in the order of their names. BadInputError when there are none or one cannot be used."""
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in {*SUFFIXES, ".parquet"})
    else:
        raise BadInputError(f"{path} does not exist: name a directory of .jsonl files, or one such file")
    if not found:
        raise BadInputError(f"{path} holds no .jsonl file: put the new problems there, as in {_example('integration')}")
    for each in found:
        if each.suffix == ".parquet":
            raise BadInputError(f"{each} is Parquet, which is not read yet: convert it to one JSON object a line")
    return found


class _Domains:
    """Domains by name, each looked up once, unknown ones too."""

    def __init__(self, load: Callable[[str], Domain]) -> None:
        self._load = load
        self._known: dict[str, Domain | str] = {}

    def __call__(self, name: str) -> Domain | str:
        """The domain, or the sentence that says why there is none."""
        if name not in self._known:
            try:
                self._known[name] = self._load(name)
            except UnknownDomainError as error:
                self._known[name] = str(error)
        return self._known[name]


def _opened(shard: Path) -> BinaryIO:
    try:
        return shard.open("rb")
    except OSError as error:
        raise BadInputError(f"{shard} cannot be read ({error.strerror}): check its permissions") from None


def _digest(file: BinaryIO) -> str:
    state = hashlib.sha256()
    while block := file.read(1 << 20):
        state.update(block)
    return state.hexdigest()


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, each at most one byte over the limit, whatever the file holds."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield number, line


class _UnusableError(Exception):
    """Why this line is no problem; never leaves this module."""

    def __init__(self, fault: RowFault, why: str) -> None:
        super().__init__(why)
        self.fault = fault


def _row(line: bytes, where: str, domain: str, domains: _Domains) -> Row:
    row = Row(where=where, text=line[:_EXCERPT].decode(errors="replace").strip())
    try:
        given = _object(line)
        row = replace(
            row, id=_id(given), domain=_clean(str(given.get("domain") or domain)), statement=_statement(given)
        )
        return replace(row, canonical=_canonical(row, domains), text="")
    except _UnusableError as error:
        return replace(row, fault=error.fault, why=str(error))


def _object(line: bytes) -> dict[str, Any]:
    if len(line.rstrip(b"\r\n")) > MAX_LINE_BYTES:
        raise _UnusableError(RowFault.TOO_LONG, f"the line is longer than {MAX_LINE_BYTES // 1024} KiB")
    try:
        given = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        why = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
        raise _UnusableError(RowFault.ENCODING, why) from None
    except (ValueError, RecursionError) as error:
        raise _UnusableError(RowFault.UNREADABLE, f"the line is no JSON object: {error}") from None
    if not isinstance(given, dict):
        raise _UnusableError(RowFault.UNREADABLE, f"the line is JSON, but a {type(given).__name__} and not an object")
    return given


def _id(given: dict[str, Any]) -> str | None:
    return None if given.get("id") is None else _clean(str(given["id"]))


def _statement(given: dict[str, Any]) -> str | None:
    texts = (given.get(name) for name in STATEMENT_FIELDS)
    return next((_clean(text) for text in texts if isinstance(text, str) and text.strip()), None)


def _canonical(row: Row, domains: _Domains) -> str:
    if row.statement is None:
        raise _UnusableError(RowFault.NO_PROBLEM, f"no text under {', '.join(STATEMENT_FIELDS)}")
    domain = domains(str(row.domain))
    if isinstance(domain, str):
        raise _UnusableError(RowFault.DOMAIN, domain)
    try:
        canonical = domain.canonical(row.statement)
        domain.prompt(row.statement, rng=random.Random(0))  # noqa: S311 - only whether it can be asked
    except GrammarError as error:
        raise _UnusableError(RowFault.GRAMMAR, str(error)) from None
    return canonical


def _clean(text: str) -> str:
    """`text` without lone surrogates, which JSON can smuggle in and UTF-8 cannot carry out."""
    return text.encode(errors="replace").decode().strip()


def _example(domain: str) -> str:
    return json.dumps({"id": "a-1", "domain": domain, "problem": "3*x^2"})
