"""Read the problems in a file that a line's model can be asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from everlearn.data import rows
from everlearn.domains.mixture import domain_of_rows
from everlearn.errors import BadInputError
from everlearn.problem import Problem
from everlearn.training.models.formats.format_choice import checker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from everlearn.settings import Settings


def problems_in(file: Path, *, settings: Settings) -> list[Problem]:
    """Return the problems of the domain in a file. BadInputError if it holds none that the model can be asked."""
    check = checker(settings.resolve(settings.base.path) if settings.base.path else None, settings.format)
    load = partial(domain_of_rows, line_domain=settings.domain)
    system = settings.format.system
    read = rows.read(file, domain=settings.domain, load=load, check=check, system=system).rows
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
