"""Suites: frozen lists of problems used only to measure, in files of JSON Lines, identified by their SHA-256.

A file begins with an optional header, `{"suite": "hard", "kind": "skill"}`, and has one problem a line, `{"id": "…",
"statement": "…"}` (or `problem`, as in new problems; `domain` is optional). It contains no answers, except a
`reference` where the domain needs one to judge. Items that are not independent, such as variants of one problem,
declare the same `"root": "…"`: the gate counts them as one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from everlearn.domains.domain_names import members_of
from everlearn.domains.hidden_reference import reference_in
from everlearn.domains.mixture import in_mixture
from everlearn.errors import BadInputError, InvalidLineError
from everlearn.json_lines import MAX_LINE_BYTES, parse_object
from everlearn.problem import REFERENCE_FIELD, STATEMENT_FIELDS, Problem
from everlearn.storage.local_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


MAX_ITEM_BYTES = 4 * MAX_LINE_BYTES
"""Most bytes of a line. A row of the allowed size fits as an item: tests become a text there, which doubles each quote."""
_NAME = re.compile(r"\w[^/\\\x00-\x1f]{0,99}")


class SuiteKind(StrEnum):
    """Purpose of a suite: to improve on (`target`), or not to get worse on (all others).

    Suites frozen by older revisions hold generated problems in their `target` suite too.
    """

    TARGET = "target"  # held-out problems of tonight, and nothing else
    GENERATED = "generated"  # drawn from the distribution of tonight's problems
    MEMORY = "memory"  # held-out problems of an earlier published night
    SKILL = "skill"
    GENERAL = "general"

    @property
    def is_of_tonight(self) -> bool:
        """Whether the items are new every night, so that results of two nights cannot be compared."""
        return self in (SuiteKind.TARGET, SuiteKind.GENERATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A frozen list of problems, used only to measure."""

    name: str
    kind: SuiteKind
    problems: tuple[Problem, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the text: equal for the same name, kind and problems in the same order."""
        return hashlib.sha256(self.to_jsonl().encode()).hexdigest()

    def to_jsonl(self) -> str:
        """Return a header line and one line for each problem."""
        header = {"suite": self.name, "kind": self.kind}
        lines = [header, *map(_fields, self.problems)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def save(self, path: Path) -> None:
        """Write the suite atomically: a reader sees the new file or the previous one."""
        write_whole(path, self.to_jsonl().encode())


def load_directory(folder: Path, *, domain: str) -> tuple[Suite, ...]:
    """Return the suites in a folder that are of this domain, by file name; those of other domains are left out.

    Of a mixture, the suites of each of its domains are there, as problems of the mixture.

    Raises:
        BadInputError: as `load`, or a file mixes problems of this domain with others.
    """
    own = {domain, *members_of(domain)}
    read = {path: load(path, domain=domain) for path in sorted(folder.glob("*.jsonl"))}
    for path, suite in read.items():
        domains = {problem.domain for problem in suite.problems}
        if domains & own:
            _require_one_domain(suite, str(path))
    return of_line(read.values(), domain)


def load_general(folder: Path) -> tuple[Suite, ...]:
    """Return the general suites in a folder, whatever their domains, by file name.

    Raises:
        BadInputError: as `load`, there is none, or one is of another kind or of several domains.
    """
    read = [load(path, kind=SuiteKind.GENERAL) for path in sorted(folder.glob("*.jsonl"))]
    if not read:
        raise BadInputError(f"no suite in {folder}: data.general names a folder of suites, or is null")
    for suite in read:
        if suite.kind is not SuiteKind.GENERAL:
            raise BadInputError(f"suite {suite.name} in {folder} is of the kind {suite.kind}: there, all are general")
        _require_one_domain(suite, f"{suite.name} in {folder}")
    return tuple(read)


def _require_one_domain(suite: Suite, where: str) -> None:
    """Raise BadInputError if a suite has problems of several domains: its keys, by which leaks are seen, are those of one."""
    domains = {problem.domain for problem in suite.problems}
    if len(domains) > 1:
        raise BadInputError(f"suite {where} mixes the domains {', '.join(sorted(domains))}: write one file for each")


def require_distinct(suites: Iterable[Suite]) -> None:
    """Raise BadInputError if two suites have the same name: one of them would not be measured."""
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"two suites are named {name!r}: give each its own name, in the first line of its file")


def of_domain(suites: Iterable[Suite], domain: str) -> tuple[Suite, ...]:
    """Return the suites whose problems are of that domain, which has the keys for them: general suites may be of another."""
    return tuple(suite for suite in suites if suite.problems and suite.problems[0].domain == domain)


def of_line(suites: Iterable[Suite], domain: str) -> tuple[Suite, ...]:
    """Return the suites of that domain and of each member of a mixture, with problems of the mixture."""
    own = {domain, *members_of(domain)}
    return tuple(_of_line(suite, domain) for suite in suites if suite.problems and suite.problems[0].domain in own)


def _of_line(suite: Suite, domain: str) -> Suite:
    """Return a suite with problems of the line's domain, which may be a mixture of theirs."""
    if suite.problems[0].domain == domain:
        return suite
    return replace(suite, problems=tuple(in_mixture(problem, line_domain=domain) for problem in suite.problems))


def load(path: Path, *, domain: str = "integration", kind: SuiteKind = SuiteKind.TARGET) -> Suite:
    """Read a suite. `domain` and `kind` apply to files that state none; their name is that of the file.

    Raises:
        BadInputError: the file is missing, empty or not UTF-8, or a line is invalid; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(f"no suite at {path}: name an existing JSONL file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"suite {path} cannot be read ({error}): it has to be a UTF-8 text file") from None
    return parse(text, name=path.stem, where=str(path), domain=domain, kind=kind)


def parse(
    text: str, *, name: str, where: str, domain: str = "integration", kind: SuiteKind = SuiteKind.TARGET
) -> Suite:
    """Invert `Suite.to_jsonl`. `where` names the source in errors. Raises BadInputError as `load`."""
    lines = [(number, _object(line, where, number)) for number, line in _lines(text)]
    if lines and "suite" in lines[0][1]:
        number, header = lines.pop(0)
        if any(header.get(each) is not None for each in STATEMENT_FIELDS):
            raise BadInputError(
                f"{where}, line {number}: a header with a problem in it, which would be lost; write it as a line of its own"
            )
        name = _name(header["suite"], f"{where}, line {number}")
        kind = _kind(header.get("kind", kind), f"{where}, line {number}")
    if not lines:
        raise BadInputError(f"suite {where} holds no problems: write one JSON object a line")
    problems: dict[str, Problem] = {}
    for number, fields in lines:
        problem = _problem(fields, f"{where}, line {number}", domain)
        if problem.id in problems:
            raise BadInputError(
                f"{where}, line {number}: the id {problem.id!r} was used before; give each problem its own id"
            )
        problems[problem.id] = problem
    return Suite(name=name, kind=kind, problems=tuple(problems.values()))


def _fields(problem: Problem) -> dict[str, str]:
    optional = {"root": problem.root, REFERENCE_FIELD: problem.reference}
    fields = {"id": problem.id, "domain": problem.domain, "statement": problem.statement}
    return fields | {name: value for name, value in optional.items() if value is not None}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _object(line: str, where: str, number: int) -> dict[str, Any]:
    try:
        fields = parse_object(line.encode(), most=MAX_ITEM_BYTES)
        json.dumps(fields, ensure_ascii=False).encode()
    except InvalidLineError as error:
        raise BadInputError(f"{where}, line {number}: {error}") from None
    except UnicodeEncodeError:
        raise BadInputError(
            f"{where}, line {number}: an escape is half of a character, which UTF-8 cannot encode; write the whole one"
        ) from None
    return fields


def _name(value: object, where: str) -> str:
    """Return the name, which is also that of a file: the suite could not be found again, or would be written elsewhere."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadInputError(
            f"{where}: {value!r} is no name of a suite: begin with a letter or digit, use no slashes, and at most 100 characters"
        )
    return value


def _kind(value: object, where: str) -> SuiteKind:
    try:
        return SuiteKind(str(value))
    except ValueError:
        raise BadInputError(f"{where}: kind {value!r} is none of {', '.join(SuiteKind)}") from None


def _problem(fields: dict[str, Any], where: str, domain: str) -> Problem:
    statement = next((fields[name] for name in STATEMENT_FIELDS if name in fields), None)
    if not isinstance(statement, str) or not statement.strip():
        raise BadInputError(f"{where}: a problem needs a `problem`, a text that is not empty")
    root = fields.get("root")
    if root is not None and (not isinstance(root, str) or not root.strip()):
        raise BadInputError(f"{where}: `root` is {root!r}; it has to be the name of a group, a text that is not empty")
    identity = fields.get("id") or hashlib.sha256(statement.encode()).hexdigest()[:16]
    return Problem(
        id=str(identity),
        domain=str(fields.get("domain") or domain),
        statement=statement,
        root=root,
        reference=reference_in(fields).get(REFERENCE_FIELD),
    )
