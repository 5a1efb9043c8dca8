"""Read rows and problems that the model of a line can be asked about."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from everlearn.data import rows
from everlearn.domains.mixture import domain_of_rows
from everlearn.errors import BadInputError
from everlearn.problem import Problem
from everlearn.training.models.formats.format_choice import checker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from everlearn.data.rows import Intake
    from everlearn.settings import Settings


def read_rows(path: Path, *, settings: Settings, seen: Collection[str] = ()) -> Intake:
    """Read a shard, or all shards in a directory, as rows of the line's domain. Raises BadInputError as `rows.read`.

    A problem that the line's model cannot be asked about is a row with a fault. Files whose SHA-256 is in `seen` are
    left out.
    """
    return rows.read(
        path,
        domain=settings.domain,
        load=partial(domain_of_rows, line_domain=settings.domain),
        seen=seen,
        check=checker(settings.resolve(settings.base.path) if settings.base.path else None, settings.format),
        system=settings.format.system,
    )


def problems_in(file: Path, *, settings: Settings) -> list[Problem]:
    """Return the problems in a file. BadInputError if it holds none that the line's model can be asked about."""
    read = read_rows(file, settings=settings).rows
    problems = [
        Problem(id=row.id or row.where, domain=settings.domain, statement=row.statement, reference=row.reference)
        for row in read
        if row.statement is not None and row.fault is None
    ]
    if not problems:
        raise BadInputError(f"{file} holds no problem of the domain; the first line: {read[0].why}")
    return problems


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems without those that are judged as an earlier one is."""
    return list({problem.key: problem for problem in problems}.values())
