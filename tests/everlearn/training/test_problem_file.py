"""A file of problems is read as a night of the line reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from everlearn.errors import BadInputError
from everlearn.settings import Settings
from everlearn.training.problem_file import problems_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"domain": "arithmetic", "problem": "12 + 5"}) + "\n")
    return path


def read(file: Path, *, domain: str) -> list[tuple[str, str]]:
    settings = Settings.model_validate({"domain": domain}, context={"root": file.parent})
    return [(problem.domain, problem.statement) for problem in problems_in(file, settings=settings)]


def test_a_row_of_another_domain_is_no_problem_of_the_line(file: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no problem of the domain; .* not that of the line"):
        read(file, domain="integration")


def test_a_row_of_a_mixture_is_a_problem_of_the_mixture(file: Path) -> None:
    assert read(file, domain="arithmetic") == [("arithmetic", "12 + 5")]
    assert read(file, domain="arithmetic+equations") == [("arithmetic+equations", "arithmetic: 12 + 5")]
