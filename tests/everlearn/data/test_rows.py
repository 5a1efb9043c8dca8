"""Every line becomes a row, valid or with a fault and its explanation."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data import rows
from everlearn.data.rows import Intake, Row, RowFault
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError
from everlearn.json_lines import MAX_LINE_BYTES
from everlearn.problem import STATEMENT_FIELDS, Problem
from everlearn.settings import FormatSettings
from everlearn.training.models.formats.format_choice import checker

BASE = Path(__file__).parents[3] / "data" / "base"
VALID = b'{"id": "a", "problem": "3*x^2"}\n'


def read(path: Path, *, seen: frozenset[str] = frozenset()) -> Intake:
    return rows.read(path, domain="integration", load=load_domain, seen=seen, check=checker(BASE, FormatSettings()))


def one_row(tmp_path: Path, line: bytes) -> Row:
    path = tmp_path / "night.jsonl"
    path.write_bytes(line)
    [row] = read(path).rows
    return row


def test_a_problem_that_is_too_long_is_a_fault_though_its_domain_accepts_it(tmp_path: Path) -> None:
    (tmp_path / "night.jsonl").write_text(
        "".join(json.dumps({"problem": "x" * chars, "answer": "1"}) + "\n" for chars in (4000, 4001))
    )
    fits, longer = rows.read(tmp_path, domain="numbers", load=load_domain).rows
    assert fits.fault is None
    assert (longer.fault, longer.canonical) == (RowFault.TOO_LONG, None)
    assert longer.why == "a problem of 4001 characters: at most 4000 are accepted"


def test_a_file_that_is_cut_while_it_is_read_counts_as_seen_with_what_was_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    whole = b"".join(b'{"problem": "%d*x"}\n' % number for number in range(1, 2001))
    path.write_bytes(whole)
    cut = rows.read(
        path, domain="integration", load=load_domain, check=lambda *_: os.truncate(path, 0)
    )  # as a log that is rotated by copying
    assert 0 < len(cut.rows) < 2000
    path.write_bytes(whole)
    assert len(read(path, seen=frozenset(cut.sources)).rows) == 2000


def test_a_valid_line_has_a_canonical_form_and_no_fault(tmp_path: Path) -> None:
    row = one_row(tmp_path, VALID)
    assert (row.where, row.id, row.domain, row.statement) == ("night.jsonl:1", "a", "integration", "3*x^2")
    assert row.canonical == load_domain("integration").canonical("3*x^2")
    assert row.fault is None


def test_without_a_format_a_problem_needs_words_only(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    path.write_bytes(VALID)
    [row] = rows.read(path, domain="integration", load=load_domain, seen=frozenset()).rows
    assert row.fault is None


@pytest.mark.parametrize("name", STATEMENT_FIELDS)
def test_every_name_of_the_statement_field_is_accepted(tmp_path: Path, name: str) -> None:
    assert one_row(tmp_path, json.dumps({name: "sin(x)", "id": 7}).encode()).statement == "sin(x)"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"problem": "x"', RowFault.UNREADABLE),
        (b"[1, 2]", RowFault.UNREADABLE),
        (b"[" * 20_000, RowFault.UNREADABLE),
        (b'{"problem": "\xff\xfe"}', RowFault.ENCODING),
        (b'{"problem": "x", "problem": "2*x"}', RowFault.UNREADABLE),
        (b'{"problem": "x", "id": NaN}', RowFault.UNREADABLE),
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
def test_an_invalid_line_states_its_fault(tmp_path: Path, line: bytes, fault: RowFault) -> None:
    row = one_row(tmp_path, line)
    assert row.fault is fault
    assert row.why
    assert row.canonical is None
    assert len(row.text) <= 80


def test_a_line_of_ten_megabytes_is_one_row_with_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"y" * 10_000_000 + b"\n\n" + VALID)
    long, valid = read(path).rows
    assert (long.fault, long.where) == (RowFault.TOO_LONG, "long.jsonl:1")
    assert (valid.fault, valid.where) == (None, "long.jsonl:3")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_line_of_the_maximum_length_is_valid(tmp_path: Path, ending: bytes) -> None:
    line = VALID.rstrip().ljust(MAX_LINE_BYTES)
    assert one_row(tmp_path, line + ending).fault is None
    assert one_row(tmp_path, line + b" " + ending).fault is RowFault.TOO_LONG


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert one_row(tmp_path, b"\xef\xbb\xbf" + VALID).fault is None


def test_a_compressed_shard_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "night.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf\n" + VALID))
    [row] = read(tmp_path).rows
    assert (row.where, row.statement) == ("night.jsonl.gz:2", "3*x^2")


def test_a_damaged_compressed_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "night.jsonl.gz").write_bytes(gzip.compress(VALID)[:-9])
    with pytest.raises(BadInputError, match=r"night\.jsonl\.gz is damaged .*: compress it again"):
        read(tmp_path)


def test_answers_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        b'{"problem": "2*x", "solution": "SECRET"}\n{"question": "3*x", "answer": null}\n' + VALID
    )
    intake = read(tmp_path)
    assert intake.unused == {"solution": 1}
    assert (
        intake.unused_sentence
        == "answers in the rows (1 in 'solution') are not used: a reference, where the domain takes any, is in "
        "the field 'reference'"
    )
    assert b"SECRET" not in intake.to_bytes()
    assert Intake.from_bytes(intake.to_bytes()) == intake
    assert [row.statement for row in intake.rows] == ["2*x", "3*x", "3*x^2"]


def test_ids_in_other_unicode_normal_forms_are_one(tmp_path: Path) -> None:
    composed, decomposed = ("\u00e9", "e\u0301")
    rows_ = [one_row(tmp_path, json.dumps({"problem": "x", "id": id_}).encode()) for id_ in (composed, decomposed)]
    assert [row.id for row in rows_] == [composed, composed]


def test_the_shards_of_a_directory_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.ndjson").write_bytes(VALID)
    (tmp_path / "a.jsonl").write_bytes(b'{"problem": "x", "domain": "chess"}\n' * 2)
    (tmp_path / "notes.txt").write_bytes(b"no shard")
    assert [row.where for row in read(tmp_path).rows] == ["a.jsonl:1", "a.jsonl:2", "b.ndjson:1"]


def test_equal_shards_are_read_once(tmp_path: Path) -> None:
    for name in ("a.jsonl", "copy of a.jsonl"):
        (tmp_path / name).write_bytes(VALID)
    first = read(tmp_path)
    assert (len(first.rows), first.seen_files) == (1, 1)
    again = read(tmp_path, seen=frozenset(first.sources))
    assert (again.rows, again.sources, again.seen_files) == ((), (), 2)


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_empty_files_are_refused_with_an_example(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.jsonl").write_bytes(content)
    with pytest.raises(BadInputError, match=r"holds no line.*\{\"problem\": \"…\"\}$"):
        read(tmp_path)
    (tmp_path / "empty too.jsonl").write_bytes(content)
    with pytest.raises(BadInputError, match="holds no line"):
        read(tmp_path)


def test_an_error_of_a_domain_names_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = load_domain("arithmetic")

    def fail(row: object) -> Problem:
        raise KeyError("country")

    monkeypatch.setattr(domain, "problem", fail)
    (tmp_path / "a.jsonl").write_bytes(VALID)
    with pytest.raises(KeyError) as raised:
        rows.read(tmp_path, domain="arithmetic", load=lambda _: domain)
    [note] = raised.value.__notes__
    assert note.startswith("raised by domain arithmetic for a.jsonl:1: mend the domain")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist: name a directory"):
        read(tmp_path / "nowhere")


def test_a_directory_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no \.jsonl file.*\{\"problem\": \"…\"\}$"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["b.parquet", "b.csv", "B.CSV", "b.tsv", "b.json", "b.jsonl.zst"])
def test_rows_in_another_format_are_refused_rather_than_skipped(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(VALID)
    (tmp_path / name).write_bytes(b"PAR1")
    with pytest.raises(BadInputError, match=f"{name} is in a format that is not read: convert it"):
        read(tmp_path)


def test_a_named_csv_file_is_refused_by_its_format_and_shows_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nWhat is 2 + 2?,4\n")
    with pytest.raises(BadInputError, match="in a format that is not read"):
        read(tmp_path / "a.csv")


def test_a_named_json_file_with_an_object_a_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(VALID)
    assert [row.fault for row in read(tmp_path / "a.json").rows] == [None]


def test_a_shard_whose_name_is_in_capitals_is_read(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_bytes(VALID)
    assert len(read(tmp_path).rows) == 1


def test_a_reference_with_more_digits_than_a_float_holds_is_kept_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        b'{"problem": "How long?", "answer": 12345678.1234567890123}\n{"problem": "How far?", "answer": 0.10}\n'
    )
    intake = rows.read(tmp_path, domain="numbers", load=load_domain)
    assert [row.reference for row in intake.rows] == ["12345678.1234567890123", "0.1"]


def test_a_shard_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(BadInputError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(BadInputError, match="cannot be read"):
        rows.digest_of_shard(tmp_path / "a.jsonl")


def test_a_shard_is_looked_for_by_the_digest_that_a_night_claims(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(VALID)
    assert read(tmp_path).sources == (rows.digest_of_shard(tmp_path / "a.jsonl"),)


@given(st.binary(max_size=300))
def test_no_bytes_raise_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(VALID + data)
    rows = read(path).rows
    assert all((row.fault is None) == (row.canonical is not None) for row in rows)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from([*STATEMENT_FIELDS, "id", "domain"]), inner),
    )
)
def test_no_json_raises_an_error_and_rows_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(VALID + json.dumps(value).encode())
    intake = read(path)
    assert Intake.from_bytes(intake.to_bytes()) == intake
