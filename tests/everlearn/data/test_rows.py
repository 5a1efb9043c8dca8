"""A night's worth of lines, whatever is in them, becomes rows: good ones, and bad ones that say why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data import rows
from everlearn.data.rows import MAX_LINE_BYTES, Intake, Row, RowFault
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.problem import STATEMENT_FIELDS

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"id": "a", "problem": "3*x^2"}\n'


def read(path: Path, **terms: frozenset[str]) -> Intake:
    return rows.read(path, domain="integration", load=load_domain, **terms)


def one_row(tmp_path: Path, line: bytes) -> Row:
    path = tmp_path / "night.jsonl"
    path.write_bytes(line)
    [row] = read(path).rows
    return row


def test_a_good_line_gets_its_canonical_form_and_no_fault(tmp_path: Path) -> None:
    row = one_row(tmp_path, GOOD)
    assert (row.where, row.id, row.domain, row.statement) == ("night.jsonl:1", "a", "integration", "3*x^2")
    assert row.canonical == load_domain("integration").canonical("3*x^2")
    assert row.fault is None


@pytest.mark.parametrize("name", STATEMENT_FIELDS)
def test_the_problem_may_be_called_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    assert one_row(tmp_path, json.dumps({name: "sin(x)", "id": 7}).encode()).statement == "sin(x)"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"problem": "x"', RowFault.UNREADABLE),
        (b"[1, 2]", RowFault.UNREADABLE),
        (b"[" * 20_000, RowFault.UNREADABLE),
        (b'{"problem": "\xff\xfe"}', RowFault.ENCODING),
        (b'{"id": 1}', RowFault.NO_PROBLEM),
        (b'{"problem": "  "}', RowFault.NO_PROBLEM),
        (b'{"problem": 3}', RowFault.NO_PROBLEM),
        (b'{"problem": "x", "domain": "chess"}', RowFault.DOMAIN),
        (b'{"problem": "x +* 2"}', RowFault.GRAMMAR),
        (b'{"problem": "__import__(1)"}', RowFault.GRAMMAR),
        (b'{"problem": "' + b"+".join(b"x^%d" % power for power in range(1, 26)) + b'"}', RowFault.GRAMMAR),
        (b'{"problem": "\\ud800"}', RowFault.GRAMMAR),
        (b'{"problem": "' + b"x" * MAX_LINE_BYTES + b'"}', RowFault.TOO_LONG),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(tmp_path: Path, line: bytes, fault: RowFault) -> None:
    row = one_row(tmp_path, line)
    assert row.fault is fault
    assert row.why
    assert row.canonical is None
    assert len(row.text) <= 80


def test_a_line_of_ten_megabytes_is_one_bad_row_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"y" * 10_000_000 + b"\n\n" + GOOD)
    long, good = read(path).rows
    assert (long.fault, long.where) == (RowFault.TOO_LONG, "long.jsonl:1")
    assert (good.fault, good.where) == (None, "long.jsonl:3")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_line_of_just_the_limit_is_not_too_long(tmp_path: Path, ending: bytes) -> None:
    line = GOOD.rstrip().ljust(MAX_LINE_BYTES)
    assert one_row(tmp_path, line + ending).fault is None
    assert one_row(tmp_path, line + b" " + ending).fault is RowFault.TOO_LONG


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert one_row(tmp_path, b"\xef\xbb\xbf" + GOOD).fault is None


def test_all_shards_of_a_directory_are_read_in_order_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b.ndjson").write_bytes(GOOD)
    (tmp_path / "a.jsonl").write_bytes(b'{"problem": "x", "domain": "chess"}\n' * 2)
    (tmp_path / "notes.txt").write_bytes(b"not ours")
    assert [row.where for row in read(tmp_path).rows] == ["a.jsonl:1", "a.jsonl:2", "b.ndjson:1"]


def test_a_shard_is_read_once_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.jsonl", "copy of a.jsonl"):
        (tmp_path / name).write_bytes(GOOD)
    first = read(tmp_path)
    assert (len(first.rows), first.seen_files) == (1, 1)
    again = read(tmp_path, seen=frozenset(first.sources))
    assert (again.rows, again.sources, again.seen_files) == ((), (), 2)


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_nothing_but_empty_lines_is_refused_with_an_example(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.jsonl").write_bytes(content)
    with pytest.raises(BadInputError, match=r"holds no line.*3\*x\^2"):
        read(tmp_path)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist: name a directory"):
        read(tmp_path / "nowhere")


def test_a_directory_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no \.jsonl file"):
        read(tmp_path)


def test_parquet_is_refused_rather_than_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInputError, match="convert it"):
        read(tmp_path)


def test_a_shard_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(BadInputError, match="cannot be read"):
        read(tmp_path)


@given(st.binary(max_size=300))
def test_no_bytes_bring_reading_down(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(GOOD + data)
    rows = read(path).rows
    assert all((row.fault is None) == (row.canonical is not None) for row in rows)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from([*STATEMENT_FIELDS, "id", "domain"]), inner),
    )
)
def test_no_json_brings_reading_down_and_rows_survive_being_written(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(GOOD + json.dumps(value).encode())
    intake = read(path)
    assert Intake.from_bytes(intake.to_bytes()) == intake
