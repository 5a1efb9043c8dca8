"""Suites: frozen lists of problems used only to measure, kept as JSONL and known by their digest.

A file starts with an optional header line, `{"suite": "hard", "kind": "skill"}`, and holds one problem a line,
`{"id": "…", "statement": "…"}` (or `problem`, as in new problems; `domain` may be given, too). Leaves out: answers; a suite never has any.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError
from everlearn.problem import STATEMENT_FIELDS, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain

TRIES_PER_ITEM = 50  # a domain that offers nothing new in so many draws has run out of problems like these


class SuiteKind(StrEnum):
    """What a suite is for: to improve on (`target`), or not to get worse on (`skill`, `general`)."""

    TARGET = "target"
    SKILL = "skill"
    GENERAL = "general"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A frozen list of problems, used only to measure."""

    name: str
    kind: SuiteKind
    problems: tuple[Problem, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the suite's own text: the same name, kind and problems in the same order."""
        return hashlib.sha256(self.to_jsonl().encode()).hexdigest()

    def to_jsonl(self) -> str:
        """Header and one problem a line."""
        header = {"suite": self.name, "kind": self.kind}
        lines = [header, *({"id": p.id, "domain": p.domain, "statement": p.statement} for p in self.problems)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def save(self, path: Path) -> None:
        """Write the suite so that a reader sees all of it or the file that was there before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(self.to_jsonl(), encoding="utf-8")
        partial.replace(path)


def load(path: Path, *, domain: str = "integration", kind: SuiteKind = SuiteKind.TARGET) -> Suite:
    """Read a suite; `domain` and `kind` are for files that do not say, and the name is then the file's.

    Raises BadInputError naming file and line when it is missing, empty, no UTF-8, or a line cannot be used.
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
    """Inverse of `Suite.to_jsonl`; `where` names the source in errors."""
    lines = [(number, _object(line, where, number)) for number, line in _lines(text)]
    if lines and "suite" in lines[0][1]:
        number, header = lines.pop(0)
        name = str(header["suite"])
        kind = _kind(header.get("kind", kind), f"{where}, line {number}")
    if not lines:
        raise BadInputError(f"suite {where} holds no problems: write one JSON object a line")
    problems: dict[str, Problem] = {}
    for number, fields in lines:
        problem = _problem(fields, f"{where}, line {number}", domain)
        if problem.id in problems:
            raise BadInputError(f"{where}, line {number}: the id {problem.id!r} was used before; ids have to differ")
        problems[problem.id] = problem
    return Suite(name=name, kind=kind, problems=tuple(problems.values()))


def freeze_target(
    held_out: Sequence[Problem],
    *,
    domain: Domain,
    size: int,
    forbidden: Collection[str],
    seed: int,
    like: Sequence[Problem] = (),
    name: str = "target",
) -> Suite:
    """The night's target suite: all held-out problems, topped up to `size` with fresh ones like them.

    No item has a canonical form or a equivalence key in `forbidden`, and no two are kin. `like` are the models for fresh
    problems where nothing was held out. A domain that runs out of new problems gives a smaller suite; the gate judges
    by the size it gets. Raises BadInputError when there is neither a held-out problem nor a model for one.
    """
    taken: set[str] = set()
    chosen = [problem for problem in held_out if _is_new(problem.statement, domain, forbidden, taken)]
    models = tuple(chosen or like)  # a copy: fresh problems are no models
    if not models:
        raise BadInputError("no target suite: every held-out problem is kin to a trained one; bring more new problems")
    for statement in _draws(models, domain=domain, seed=seed, tries=TRIES_PER_ITEM * max(0, size - len(chosen))):
        if len(chosen) >= size:
            break
        if _is_new(statement, domain, forbidden, taken):
            chosen.append(domain.problem(statement))
    return Suite(name=name, kind=SuiteKind.TARGET, problems=tuple(chosen))


def _draws(models: Sequence[Problem], *, domain: Domain, seed: int, tries: int) -> Iterator[str]:
    rng = random.Random(f"target:{seed}")  # noqa: S311 - seeded choice is no cryptography
    for turn in range(tries):
        yield domain.generate(rng, like=models[turn % len(models)].statement)


def _is_new(statement: str, domain: Domain, forbidden: Collection[str], taken: set[str]) -> bool:
    """Whether it may join; if so, its keys are taken."""
    keys = {domain.canonical(statement), domain.equivalence(statement)}
    if any(key in forbidden or key in taken for key in keys):
        return False
    taken |= keys
    return True


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _object(line: str, where: str, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where}, line {number}: no JSON ({error}); write one object a line") from None
    if not isinstance(fields, dict):
        raise BadInputError(f"{where}, line {number}: a JSON object is needed, not {type(fields).__name__}")
    return fields


def _kind(value: object, where: str) -> SuiteKind:
    try:
        return SuiteKind(str(value))
    except ValueError:
        raise BadInputError(f"{where}: kind {value!r} is none of {', '.join(SuiteKind)}") from None


def _problem(fields: dict[str, Any], where: str, domain: str) -> Problem:
    statement = next((fields[name] for name in STATEMENT_FIELDS if name in fields), None)
    if not isinstance(statement, str) or not statement.strip():
        raise BadInputError(f"{where}: a problem needs a `problem`, a text that is not empty")
    identity = fields.get("id") or hashlib.sha256(statement.encode()).hexdigest()[:16]
    return Problem(id=str(identity), domain=str(fields.get("domain", domain)), statement=statement)
