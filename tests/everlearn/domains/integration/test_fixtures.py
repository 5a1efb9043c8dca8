"""The data that ships: what the repository holds is what the command writes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.fixtures import BROKEN, write
from everlearn.domains.integration.term_sums import draw_sum
from everlearn.domains.integration.term_templates import summands_of
from everlearn.errors import GrammarError

DATA = Path(__file__).parents[4] / "data"


@pytest.mark.parametrize(
    "name", ["suites/short-sums.jsonl", "example/monday.jsonl", "example/tuesday.jsonl", "unknown/families.jsonl"]
)
def test_the_shipped_data_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert (DATA / name).read_bytes() == (tmp_path / name).read_bytes()


def test_no_family_of_the_unknown_night_is_one_of_the_base_models() -> None:
    rows = [json.loads(line) for line in (DATA / "unknown" / "families.jsonl").read_text().splitlines()]
    known = {term.template for seed in range(400) for term in summands_of(draw_sum(random.Random(seed), size=4))}
    assert not known & {term.template for row in rows for term in summands_of(row["problem"])}


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
