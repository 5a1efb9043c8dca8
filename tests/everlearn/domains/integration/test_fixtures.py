"""The data that ships: what the repository holds is what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.fixtures import BROKEN, write
from everlearn.errors import GrammarError

DATA = Path(__file__).parents[4] / "data"


@pytest.mark.parametrize("name", ["suites/short-sums.jsonl", "example/monday.jsonl", "example/tuesday.jsonl"])
def test_the_shipped_data_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert (DATA / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_example_night_has_more_than_150_different_problems_and_no_answer() -> None:
    domain, seen = load_domain("integration"), set()
    for path in sorted((DATA / "example").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            assert row.keys() == {"id", "domain", "problem"}
            if row["problem"] in BROKEN:
                with pytest.raises(GrammarError):
                    domain.problem(row["problem"])
            else:
                seen.add(domain.canonical(row["problem"]))
    assert len(seen) >= 150
