"""What is a statement and what is a program, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.programs.grammar import LONGEST, LONGEST_SOURCE, read_source, read_task
from everlearn.errors import GrammarError


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("def f(x): return twice x", "def f(x): return twice x"),
        ("def clamp(x, low, high): return x\n   limited", "def clamp(x, low, high): return x limited"),
        ("Return twice x.\n\ndef f(x)", "def f(x): Return twice x."),
        ("Write this:\n```python\ndef f(x):\n```\nIt returns twice x.", "def f(x): Write this: It returns twice x."),
        ("def f( xs: list[int] )->int: the sum", "def f(xs: list[int]) -> int: the sum"),
        ("def f(x) -> int the sum", "def f(x): -> int the sum"),
        ("def f(): the number seven", "def f(): the number seven"),
        ("def f(x):: twice", "def f(x): : twice"),
    ],
)
def test_a_statement_is_a_signature_and_words(text: str, statement: str) -> None:
    assert str(read_task(text)) == statement
    assert str(read_task(statement)) == statement


@pytest.mark.parametrize(
    "text",
    [
        "",
        "return twice x",
        "def f(x)",
        "def f(x): ...",
        "def f(x): x",
        "def f(x): call def g(x)",
        "def f(x: the sum",
        "def if(x): the sum",
        "def __init__(x): the sum",
        "def 1f(x): the sum",
        f"def {'f' * 41}(x): the sum",
        "def f(x=g()): the sum",
        "def f(x): the\u202e sum",
        "def f(x): the\x00 sum",
        "def f(x): the \ud800 sum",
        "def f(x): the " + "sum " * LONGEST,
        "sum " * (LONGEST // 4 - 2) + "def f(x)",
    ],
)
def test_anything_else_is_no_statement(text: str) -> None:
    with pytest.raises(GrammarError):
        read_task(text)


@given(st.text("def f(x)->: ab`,.", max_size=60).map("def f(x)".__add__) | st.text(max_size=60))
def test_a_statement_is_read_as_itself(text: str) -> None:
    try:
        statement = str(read_task(text))
    except GrammarError:
        return
    assert str(read_task(statement)) == statement


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("def f(x): pass", "def f(x): pass"),
        ("f = abs", "f = abs"),
        ("```python\ndef f(x): pass\n```", "def f(x): pass"),
        ("```\ndef f(x): pass\n```\nThat is f.", "def f(x): pass"),
        ("```py\ndef f(x): 1\n```\n```\ndef f(x): 2\n```", "def f(x): 2"),
        ("```py\ndef f(x): 1\n```\nUse:\n```\nprint(f(1))\n```", "def f(x): 1"),
        ("```py\nimport f\n```", "import f"),
        ("```python\ndef f(x): pass", "def f(x): pass"),
    ],
)
def test_a_program_is_taken_from_its_block(answer: str, source: str) -> None:
    assert read_source(answer, name="f") == source


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "g = 1",
        "def ff(x): pass",
        "f" * 33_000,
        "f = 1" + " " * LONGEST_SOURCE,
        "f = '\ud800'",
        "```\nx = 1\n```\nf",
    ],
)
def test_what_cannot_define_the_function_is_no_program(answer: str) -> None:
    with pytest.raises(GrammarError):
        read_source(answer, name="f")


@pytest.mark.parametrize(
    "unit", ["def ", "def f(", "def f() ", "def f()->", "def f()->a", "```", "```\n", "```a", "` ", "f=", "a"]
)
def test_reading_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    for read in (read_task, lambda text: read_source(text, name="f")):
        for count in (7_900 // len(unit), 1_000_000 // len(unit)):
            try:
                read(unit * count)
            except GrammarError:
                continue
    assert time.process_time() - started < 1
