"""A chat of one question in a row is a problem; any other is refused with what to change."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.data import rows
from everlearn.data.chat_rows import plain_fields
from everlearn.data.rows import Row, RowFault
from everlearn.domains.contract import load_domain
from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "Anna has 3 apples and buys 6 more. How many has she?"
SECRET = "three and six are 9\n#### 9"
SYSTEM = {"role": "system", "content": "Think step by step."}
USER = {"role": "user", "content": QUESTION}
ASSISTANT = {"role": "assistant", "content": SECRET}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "3+6 is 9"}}]


def compact(value: object) -> str:
    """Return JSON without spaces, of which most is in the characters that quarantine shows."""
    return json.dumps(value, separators=(",", ":"))


def read(folder: Path, *lines: dict[str, Any], domain: str = "numbers", system: str = "") -> list[Row]:
    path = folder / "a.jsonl"
    path.write_text("".join(compact(line) + "\n" for line in lines), encoding="utf-8")
    return list(rows.read(path, domain=domain, load=load_domain, system=system).rows)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER, ASSISTANT]},
        {"messages": [USER | {"name": None}, ASSISTANT], "prompt": None, "tools": None},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": QUESTION, "completion": [ASSISTANT]},
        {"prompt": [USER], "completion": SECRET},
        {"prompt": QUESTION, "completion": SECRET},
        {"prompt": [USER], "solution": SECRET},
        {"messages": [SYSTEM, USER, ASSISTANT]},
        {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]},
        {"messages": [USER, ASSISTANT], "tools": []},
        {"prompt": [USER], "completion": [ASSISTANT], "tools": "[]"},
        {"prompt": QUESTION, "completion": SECRET, "tools": "pen and paper", "messages": []},
    ],
)
def test_a_chat_of_one_question_is_a_problem_with_its_answer(tmp_path: Path, fields: dict[str, Any]) -> None:
    [row] = read(tmp_path, {"id": "a"} | fields, system="Think step by step.\n")
    [plain] = read(tmp_path, {"id": "a", "question": QUESTION, "answer": SECRET})
    assert row == plain
    assert (row.fault, row.statement, row.reference) == (None, QUESTION, SECRET)


def test_a_question_without_an_answer_has_no_reference(tmp_path: Path) -> None:
    [row] = read(tmp_path, {"prompt": [{"role": "user", "content": "12 + 5"}]}, domain="arithmetic")
    assert (row.statement, row.reference, row.fault) == ("12 + 5", None, None)


def test_a_reference_beside_a_chat_is_preferred_to_its_answer(tmp_path: Path) -> None:
    [row] = read(tmp_path, {"messages": [USER, ASSISTANT], "reference": "9"})
    assert row.reference == "9"


def test_the_answer_of_a_chat_is_counted_where_the_domain_takes_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "12 + 5"}, ASSISTANT]}))
    intake = rows.read(tmp_path, domain="arithmetic", load=load_domain)
    assert intake.unused == {"completion": 1}
    assert SECRET.encode() not in intake.to_bytes()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"messages": []}, "'messages' has the turns none: give one of user, then one of assistant, and a row to each"),
        ({"messages": [USER]}, "has the turns user: give one of user, then one of assistant"),
        ({"messages": [USER, ASSISTANT, USER, ASSISTANT]}, "has the turns user, assistant, user, assistant: give"),
        ({"messages": [USER, ASSISTANT] * 3}, "has the turns user, assistant, user, assistant, …: give"),
        ({"messages": [ASSISTANT, USER]}, "has the turns assistant, user: give"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "has the turns user, system, assistant: give"),
        ({"messages": [SYSTEM, USER, ASSISTANT]}, "is not that of the line: set format.system to it, where"),
        ({"messages": [USER, ASSISTANT | {"role": "tool"}]}, "turn 2 of 'messages' has the role 'tool': use system,"),
        (
            {"messages": [USER, ASSISTANT | {"tool_calls": [1]}]},
            "turn 2 of 'messages' has 'tool_calls', which would be",
        ),
        ({"messages": [USER, {"role": "assistant", "content": [SECRET]}]}, "turn 2 of 'messages' has no texts 'role'"),
        ({"messages": [{"from": "human", "value": QUESTION}]}, "turn 1 of 'messages' has no texts 'role'"),
        ({"messages": ["one", "two"]}, "turn 1 of 'messages' has no texts 'role' and 'content': give both"),
        ({"messages": [USER, ASSISTANT], "prompt": [USER]}, "has both 'messages' and 'prompt': leave one of them out"),
        ({"messages": [USER, ASSISTANT], "completion": SECRET}, "has both 'messages' and 'completion'"),
        ({"prompt": [USER, ASSISTANT, USER]}, "'prompt' has the turns user, assistant, user: give one of user, and a"),
        (
            {"messages": [USER, ASSISTANT], "tools": TOOLS},
            "the row has 'tools', which the model is not offered: leave",
        ),
        ({"messages": [USER, ASSISTANT], "tools": json.dumps(TOOLS)}, "the row has 'tools'"),
        ({"prompt": [USER], "solution": SECRET, "tools": TOOLS}, "the row has 'tools'"),
        ({"prompt": QUESTION, "completion": [ASSISTANT], "tools": TOOLS}, "the row has 'tools'"),
        (
            {"prompt": [USER], "completion": [SYSTEM, ASSISTANT]},
            "'completion' has the turns system, assistant: give one",
        ),
    ],
)
def test_any_other_chat_goes_to_quarantine_with_what_to_change(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    [row] = read(tmp_path, {"id": "a"} | fields)
    assert (row.fault, row.where) == (RowFault.CHAT, "a.jsonl:1")
    assert why in row.why
    assert "9" not in row.why + row.text, "the answer is shown"
    assert "role" not in row.text, "turns are shown"
    assert "tools" not in row.text


SHORT = {"role": "user", "content": "3+6?"}
NINE = {"role": "assistant", "content": "N9"}
HINT = {"role": "system", "content": "It is N9."}
OWN = {"role": "system", "content": "Think."}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": [SHORT, NINE]},
        {"prompt": [HINT, SHORT]},
        {"prompt": [SHORT], "completion": [HINT, NINE]},
        {"messages": [SHORT, NINE, SHORT]},
        {"messages": [SHORT], "prompt": [SHORT, NINE]},
        {"messages": {"role": "assistant", "content": "N9"}},
        {"messages": "N9"},
        {"question": [SHORT, NINE]},
        {"problem": {"messages": [SHORT, NINE]}},
        {"Completion": "N9"},
        {"conversations": [{"from": "human", "value": "3+6?"}, {"from": "gpt", "value": "N9"}]},
        {"chosen": [SHORT, NINE], "rejected": [SHORT, NINE]},
    ],
)
def test_nothing_of_a_short_chat_is_in_quarantine(tmp_path: Path, fields: dict[str, Any]) -> None:
    whole, cut = read(tmp_path, fields), compact(fields)[:-1].encode()
    for line in (cut, b"\xef\xbb\xbf " + cut, compact([fields]).encode(), cut.replace(b"m", b"\\u006d")):
        (tmp_path / "a.jsonl").write_bytes(line)
        whole += rows.read(tmp_path, domain="numbers", load=load_domain).rows
    assert len(whole) == 5
    assert {row.fault for row in whole} <= {RowFault.CHAT, RowFault.NO_PROBLEM, RowFault.UNREADABLE}
    for row in whole:
        assert "N9" not in row.why + row.text


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [OWN, SHORT, NINE]},
        {"prompt": [OWN, SHORT]},
        {"prompt": [OWN, SHORT], "completion": [NINE]},
        {"prompt": [SHORT], "completion": "N9", "messages": None},
    ],
)
def test_of_a_chat_in_quarantine_only_the_question_is_shown(tmp_path: Path, fields: dict[str, Any]) -> None:
    [row] = read(tmp_path, {"domain": "chess"} | fields, system="Think.")
    assert row.fault is RowFault.DOMAIN
    assert json.loads(row.text) == {"domain": "chess", "prompt": "3+6?"}


def test_an_escaped_key_does_not_show_the_answer(tmp_path: Path) -> None:
    chat = json.dumps([USER, ASSISTANT, ASSISTANT])
    (tmp_path / "a.jsonl").write_text(f'{{"m\\u0065ssages": {chat}}}\n{{"messages": {chat}\n', encoding="utf-8")
    read_rows = rows.read(tmp_path, domain="numbers", load=load_domain).rows
    assert [row.fault for row in read_rows] == [RowFault.CHAT, RowFault.UNREADABLE]
    assert [row.text for row in read_rows] == ["{}", "{"]


@pytest.mark.parametrize(
    "fields",
    [
        {"question": QUESTION, "answer": SECRET, "messages": [USER, ASSISTANT, USER]},
        {"prompt": QUESTION, "completion": SECRET, "messages": [USER]},
        {"problem": QUESTION, "prompt": [USER, USER], "messages": 3, "solution": SECRET},
    ],
)
def test_a_statement_in_another_field_is_preferred_to_a_chat(tmp_path: Path, fields: dict[str, Any]) -> None:
    [row] = read(tmp_path, fields)
    assert (row.statement, row.reference, row.fault) == (QUESTION, SECRET, None)


def test_a_list_without_turns_is_no_chat() -> None:
    fields = {"prompt": "def f(x): return x", "completion": ["assert f(1) == 1"], "messages": "none"}
    assert plain_fields(fields, system="") == fields


VALUES = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner | st.sampled_from(["user", "assistant"]))
    ),
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "completion", "problem"]), VALUES), st.text(max_size=3))
def test_a_plain_row_stays_as_it_is(fields: dict[str, Any], system: str) -> None:
    with contextlib.suppress(BadInputError):
        plain = plain_fields(fields, system=system)
        assert plain_fields(plain, system=system) == plain
