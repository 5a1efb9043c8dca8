"""Rows of new problems: parse shards of JSON Lines into one row for each line, valid or not.

    {"id": "a-17", "domain": "integration", "problem": "3*x^2 + sin(2*x)"}

`id` and `domain` are optional, and every name in `STATEMENT_FIELDS` is accepted for `problem`, and so is a chat of one
question (chat_rows.py). An invalid line raises no error: its row has a `fault`, and acceptance.py decides whether that
stops the night. A field `reference` is the problem's hidden reference, if its domain keeps one; so is an answer
(`ANSWER_FIELDS`) where the domain takes references. Other answers are counted and not used. No reference is in the
excerpt of an invalid line, and of a chat at most its question. Parquet and CSV are not supported.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any

from everlearn.data.acceptance import MAX_STATEMENT_CHARS
from everlearn.data.chat_rows import MESSAGES, TOOLS, plain_fields
from everlearn.domains.hidden_reference import reference_in
from everlearn.errors import BadInputError, GrammarError, InvalidLineError, UnknownDomainError
from everlearn.json_lines import LineFault, parse_object, read_lines
from everlearn.problem import ANSWER_FIELDS, REFERENCE_FIELD, STATEMENT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from everlearn.domains.contract import Domain
    from everlearn.problem import Problem

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_OTHER_FORMATS = (".parquet", ".csv", ".tsv", *(f".jsonl.{each}" for each in ("zst", "bz2", "xz", "zip")))
EXAMPLE = '{"problem": "…"}'
"""A line of new problems, of any domain."""
_EXCERPT_CHARS = 80
_REFERENCES = (REFERENCE_FIELD, *ANSWER_FIELDS)
_NOT_SHOWN = (*_REFERENCES, MESSAGES, TOOLS)
_HIDDEN = re.compile(  # a field that is not shown, a list or an object, and an escape that may hide the name of a field
    rb"['\"]?(?:" + "|".join(_NOT_SHOWN).encode() + rb")\b|(?<!^)[\[{]|\\u00[0-7]", re.IGNORECASE
)


class RowFault(StrEnum):
    """Reason for which a row goes to quarantine."""

    TOO_LONG = LineFault.TOO_LONG
    ENCODING = LineFault.ENCODING
    UNREADABLE = LineFault.UNREADABLE
    CHAT = "no chat of one question"
    NO_PROBLEM = "no problem in it"
    DOMAIN = "unknown domain"
    GRAMMAR = "outside the grammar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a shard. A valid one has a `canonical` form, an invalid one a `fault` and its explanation, `why`.

    `where` is `file:line`; `text` is the beginning of an invalid line. `reference` is that of a valid one.
    """

    where: str
    id: str | None = None
    domain: str | None = None
    statement: str | None = None
    canonical: str | None = None
    fault: RowFault | None = None
    why: str = ""
    text: str = ""
    reference: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """All rows of the shards that are new, the digests of those shards, and the number of shards seen before.

    `unused` counts the rows that have an answer which is not used, by the name of its field.
    """

    rows: tuple[Row, ...]
    sources: tuple[str, ...]
    seen_files: int
    unused: dict[str, int] = field(default_factory=dict)

    @property
    def unused_sentence(self) -> str | None:
        """A sentence about answers in the rows, which are not used; None if there are none."""
        names = ", ".join(f"{count} in {name!r}" for name, count in sorted(self.unused.items()))
        if not names:
            return None
        return f"answers in the rows ({names}) are not used: a reference, where the domain takes any, is in the field {REFERENCE_FIELD!r}"

    def to_bytes(self) -> bytes:
        """Return a header line and one line for each row. Equal intakes give equal bytes."""
        header = {"intake": 1, "sources": list(self.sources), "seen_files": self.seen_files}
        lines = [header | ({"unused": self.unused} if self.unused else {}), *map(plain_row, self.rows)]
        return "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Intake:
        """Invert `to_bytes`."""
        header, *lines = [json.loads(line) for line in data.decode().split("\n") if line]
        rows = tuple(Row(**line | {"fault": RowFault(line["fault"]) if line["fault"] else None}) for line in lines)
        sources, unused = tuple(header["sources"]), header.get("unused", {})
        return cls(rows=rows, sources=sources, seen_files=header["seen_files"], unused=unused)


def plain_row(row: Row) -> dict[str, Any]:
    """Return the row as JSON has it, without a reference that is None."""
    return {name: value for name, value in asdict(row).items() if name != REFERENCE_FIELD or value is not None}


def ask_in_words(domain: Domain, problem: Problem) -> None:
    """Check that a problem can be stated in words. Raises GrammarError."""
    domain.question(problem)


def read(
    path: Path,
    *,
    domain: str,
    load: Callable[[str], Domain],
    seen: Collection[str] = (),
    check: Callable[[Domain, Problem], None] = ask_in_words,
    system: str = "",
) -> Intake:
    """Read a shard, or all shards directly in a directory, except the files whose SHA-256 is in `seen`.

    `domain` applies to rows that name none; `load` returns a domain by its name. `check` raises GrammarError for a
    problem that the model cannot be asked. `system` is the system message that chats may begin with.

    Raises:
        BadInputError: the path does not exist, the directory has no shard, or the files have no line.
    """
    rows: list[Row] = []
    sources: set[str] = set()
    seen_files = copies = 0
    unused: Counter[str] = Counter()
    reader = _Reader(load, check, system)
    for shard in shards(path):
        with _open(shard) as file:
            source = hashlib.file_digest(file, "sha256").hexdigest()
            if source in seen or source in sources:
                seen_files += 1
                copies += source in sources
                continue
            file.seek(0)
            read_once = _Digesting(file)
            for number, line in read_lines(BufferedReader(read_once), name=str(shard)):
                rows.append(_parse_row(line, f"{shard.name}:{number}", domain, reader, unused))
            sources.add(read_once.digest.hexdigest())
    if not rows and seen_files == copies:
        raise BadInputError(f"{path} holds no line: write one problem a line, as in {EXAMPLE}")
    return Intake(rows=tuple(rows), sources=tuple(sorted(sources)), seen_files=seen_files, unused=dict(unused))


def shards(path: Path) -> list[Path]:
    """Return the files to read, sorted by name. Raises BadInputError if there is none, or one seems to have rows in another format.

    A file whose name ends in .json may have a JSON object a line: it is read where it is named, and refused in a directory.
    """
    refused = _OTHER_FORMATS
    if path.is_file():
        files = [path]
    elif path.is_dir():
        refused = (*_OTHER_FORMATS, ".json")
        files = sorted(file for file in path.iterdir() if file.name.lower().endswith((*SUFFIXES, *refused)))
    else:
        raise BadInputError(f"{path} does not exist: name a directory of .jsonl files, or one such file")
    if not files:
        raise BadInputError(f"{path} holds no .jsonl file: put the new problems there, as in {EXAMPLE}")
    for file in files:
        if file.name.lower().endswith(refused):
            raise BadInputError(
                f"{file} is in a format that is not read: convert it to a .jsonl file with one JSON object a line, or move it away"
            )
    return files


def digest_of_shard(shard: Path) -> str:
    """Return the SHA-256 of a shard, by which nights claim it. Raises BadInputError if it cannot be read."""
    with _open(shard) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Reader:
    """The check of problems, the system message of the line, and a cache of domains by name, of unknown names too."""

    def __init__(self, load: Callable[[str], Domain], check: Callable[[Domain, Problem], None], system: str) -> None:
        self.check, self.system = check, system
        self._load = load
        self._known: dict[str, Domain | str] = {}

    def domain(self, name: str) -> Domain | str:
        """Return the domain, or the message of the error for an unknown one."""
        if name not in self._known:
            try:
                self._known[name] = self._load(name)
            except UnknownDomainError as error:
                self._known[name] = str(error)
        return self._known[name]


class _Digesting(RawIOBase):
    """A shard with the digest of what was read of it. A file that changes meanwhile must not count as seen with other bytes."""

    def __init__(self, file: BufferedReader) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        read = self._file.readinto(buffer)
        self.digest.update(memoryview(buffer)[:read])
        return read


def _open(shard: Path) -> BufferedReader:
    try:
        return shard.open("rb")
    except OSError as error:
        raise BadInputError(f"{shard} cannot be read ({error.strerror}): check its permissions") from None


class _InvalidRowError(Exception):
    """Reason why a line is no valid problem. Internal to this module."""

    def __init__(self, fault: RowFault, why: str) -> None:
        super().__init__(why)
        self.fault = fault


def _parse_row(line: bytes, where: str, domain: str, reader: _Reader, unused: Counter[str]) -> Row:
    row = Row(where=where, text=_excerpt(line))
    try:
        fields = parse_object(line)
        row = replace(row, text=_excerpt(line, fields))
        fields = _plain(fields, reader)
        row = replace(
            row,
            id=_id(fields),
            domain=_clean(str(fields.get("domain") or domain)),
            statement=_statement(fields),
            text=_excerpt(line, fields),
        )
        problem, canonical = _read(row, fields, reader, unused)
        return replace(
            row,
            domain=problem.domain,  # of a row that names one of a mixture: the mixture
            statement=problem.statement,
            canonical=canonical,
            text="",
            reference=problem.reference,
        )
    except InvalidLineError as error:
        return replace(row, fault=RowFault(error.fault), why=str(error))
    except _InvalidRowError as error:
        return replace(row, fault=error.fault, why=str(error))


def _excerpt(line: bytes, fields: dict[str, Any] | None = None) -> str:
    """Return the beginning of a line without any reference or answer, and without lists and objects, which may be chats.

    A line that is no object is cut before the first of them.
    """
    if fields is None:
        start = line[: 4 * _EXCERPT_CHARS].removeprefix(codecs.BOM_UTF8).lstrip()
        return _HIDDEN.split(start, maxsplit=1)[0][:_EXCERPT_CHARS].decode(errors="replace").strip()
    shown = {name: value for name, value in fields.items() if not isinstance(value, list | dict)}
    shown = {name: value for name, value in shown.items() if name.lower() not in _NOT_SHOWN}
    return _clean(json.dumps(shown, ensure_ascii=False)[:_EXCERPT_CHARS])


def _plain(fields: dict[str, Any], reader: _Reader) -> dict[str, Any]:
    try:
        return plain_fields(fields, system=reader.system)
    except BadInputError as error:
        raise _InvalidRowError(RowFault.CHAT, str(error)) from None


def _id(fields: dict[str, Any]) -> str | None:
    """Return the id in Unicode normal form NFC: ids that look alike are one."""
    return None if fields.get("id") is None else unicodedata.normalize("NFC", _clean(str(fields["id"])))


def _statement(fields: dict[str, Any]) -> str | None:
    texts = (fields.get(name) for name in STATEMENT_FIELDS)
    return next((_clean(text) for text in texts if isinstance(text, str) and text.strip()), None)


def _read(row: Row, fields: dict[str, Any], reader: _Reader, unused: Counter[str]) -> tuple[Problem, str]:
    """Return the problem as the domain keeps it, and its canonical form. Count the answers of a valid row that are not used."""
    if row.statement is None:
        raise _InvalidRowError(RowFault.NO_PROBLEM, f"no text under {', '.join(STATEMENT_FIELDS)}, nor in a chat")
    domain = reader.domain(str(row.domain))
    if isinstance(domain, str):
        raise _InvalidRowError(RowFault.DOMAIN, domain)
    names = domain.reference_fields
    try:
        problem = domain.problem({"statement": row.statement} | reference_in(fields, names=names))
        canonical = domain.canonical(problem.statement)
        reader.check(domain, problem)
    except GrammarError as error:
        raise _InvalidRowError(RowFault.GRAMMAR, str(error)) from None
    except Exception as error:
        error.add_note(
            f"raised by domain {row.domain} for {row.where}: mend the domain, which has to raise GrammarError for a row that is "
            f"no problem of it (`everlearn domain check {row.domain}`), or take the row out"
        )
        raise
    if len(problem.statement) > MAX_STATEMENT_CHARS:
        why = f"a problem of {len(problem.statement)} characters: at most {MAX_STATEMENT_CHARS} are accepted"
        raise _InvalidRowError(RowFault.TOO_LONG, why)
    used = names if problem.reference is not None else ()
    unused.update(name for name in _REFERENCES if fields.get(name) is not None and name not in used)
    return problem, canonical


def _clean(text: str) -> str:
    """Strip `text`, and replace lone surrogates, which JSON can contain and UTF-8 cannot encode."""
    return text.encode(errors="replace").decode().strip()
