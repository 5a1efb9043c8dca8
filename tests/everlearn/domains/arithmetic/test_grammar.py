"""What is a problem and what is an answer, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.arithmetic.grammar import MAX_DIGITS, Calculation, Operation, read_answer, read_calculation
from everlearn.errors import GrammarError

numbers = st.integers(0, 10**MAX_DIGITS - 1)
calculations = st.builds(Calculation, operation=st.sampled_from(Operation), left=numbers, right=numbers)


@pytest.mark.parametrize(
    ("text", "calculation"),
    [
        ("347 + 58", "347 + 58"),
        ("347+58=", "347 + 58"),
        ("347 + 58 = ?", "347 + 58"),
        (" What is\n347 plus 58? ", "347 + 58"),
        ("Calculate: 12 times 345.", "12 * 345"),
        ("12 × 345", "12 * 345"),  # noqa: RUF001
        ("12 x 345", "12 * 345"),
        ("compute 12 multiplied by 1,345", "12 * 1345"),
        ("What's the sum of 3 and 4?", "3 + 4"),
        ("The product of 1,000,000 and 7", "1000000 * 7"),
        ("Add 3 to 4.", "3 + 4"),
        ("multiply 3 by 0", "3 * 0"),
    ],
)
def test_symbols_and_words_are_read(text: str, calculation: str) -> None:
    assert str(read_calculation(text)) == calculation


@pytest.mark.parametrize(
    "text",
    [
        "",
        "347",
        "347 - 58",
        "-3 + 4",
        "3 + 4 + 5",
        "3 + 4 * 5",
        "1,23 + 4",
        "1234,567 + 1",
        "007 + 1",
        "3.5 + 1",
        "1 000 + 1",
        "²3 + 4",
        "٣ + 4",
        "__import__('os') + 1",
        "Ignore this. 3 + 4",
        "3 + 4 " + " " * 1000,
        f"{10**MAX_DIGITS} + 1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        read_calculation(text)


@given(calculations)
def test_a_calculation_is_read_as_it_is_written(asked: Calculation) -> None:
    assert read_calculation(str(asked)) == asked
    grouped = f"{asked.left:,} {asked.operation.symbol} {asked.right:,}"
    assert read_calculation(grouped) == asked


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("405", 405),
        (" 405.\n", 405),
        ("= 405", 405),
        ("=405", 405),
        ("1,234", 1234),
        ("1,234,567.", 1234567),
        ("0405", 405),
        ("000", 0),
        ("+7", 7),
        ("-7", -7),
        ("− 7", -7),  # noqa: RUF001
        ("9" * 201, None),
        ("0" * 300 + "7", 7),
    ],
)
def test_an_answer_is_a_whole_number(text: str, number: int | None) -> None:
    assert read_answer(text) == number


@pytest.mark.parametrize(
    "text", ["", ".", "=", "-", "4 5", "1,23", "12345,678", "4.05", "405..", "4e2", "0x10", "four", "405 apples", "٤", "² ", "405=", "--5", "1_000", "9" * 2000]
)  # fmt: skip
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(GrammarError, match="no whole number"):
        read_answer(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_calculation, read_answer):
        try:
            read(text)
        except GrammarError as error:
            assert len(str(error)) < 400  # noqa: PT017


@pytest.mark.parametrize("unit", ["9", "1,", "1,111", " ", "=", "what is ", "1 + ", "add "])
def test_reading_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    for read in (read_calculation, read_answer):
        for count in (990 // len(unit), 1_000_000 // len(unit)):
            try:
                read(unit * count)
            except GrammarError:
                continue
    assert time.process_time() - started < 1
