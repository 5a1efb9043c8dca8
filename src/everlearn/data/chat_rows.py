"""Chats in rows of new problems, as TRL's data sets have them: return their question and answer as plain text.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"prompt": [{"role": "user", "content": "…"}], "completion": [{"role": "assistant", "content": "…"}]}

A chat is one question of the user and, in `messages`, one answer. A system message is accepted before the question
where it is that of the line (`format.system`), since the model is asked with no other. Longer chats, tools and content
that is no text are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.errors import BadInputError
from everlearn.problem import STATEMENT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MESSAGES, PROMPT, COMPLETION, TOOLS = "messages", "prompt", "completion", "tools"
NO_TOOLS: tuple[Any, ...] = (None, [], {}, "", "[]", "{}", "null")
"""Values of `tools` that offer none, as JSON or as text with JSON in it."""
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


def plain_fields(fields: Mapping[str, Any], *, system: str) -> dict[str, Any]:
    """Return the fields of a row with the question of a chat in `prompt` and its answer in `completion`.

    A row that has a statement as text keeps it: its `messages` are not read. `system` is the system message of the
    line.

    Raises:
        BadInputError: the chat is not one question, or one question and its answer, or it has tools.
    """
    plain = dict(fields)
    is_stated = any(isinstance(text := fields.get(name), str) and text.strip() for name in STATEMENT_FIELDS)
    has_question = not is_stated and any(isinstance(fields.get(name), list) for name in (MESSAGES, PROMPT))
    if (has_question or _is_chat(fields.get(COMPLETION))) and fields.get(TOOLS) not in NO_TOOLS:
        raise BadInputError(
            f"the row has {TOOLS!r}, which the model is not offered: leave them out where the answer uses none"
        )
    if isinstance(fields.get(MESSAGES), list) and not is_stated:
        taken = next((name for name in (PROMPT, COMPLETION) if fields.get(name) is not None), None)
        if taken is not None:
            raise BadInputError(f"the row has both {MESSAGES!r} and {taken!r}: leave one of them out")
        plain[PROMPT], plain[COMPLETION] = _contents(plain.pop(MESSAGES), (USER, ASSISTANT), MESSAGES, system)
        return plain
    if isinstance(fields.get(PROMPT), list) and not is_stated:
        [plain[PROMPT]] = _contents(fields[PROMPT], (USER,), PROMPT, system)
    if _is_chat(fields.get(COMPLETION)):
        [plain[COMPLETION]] = _contents(fields[COMPLETION], (ASSISTANT,), COMPLETION, system)
    return plain


def _is_chat(value: Any) -> bool:
    """Return whether a value has turns: a list of anything else may be tests."""
    return isinstance(value, list) and any(isinstance(turn, dict) and "role" in turn for turn in value)


def _contents(chat: Sequence[Any], roles: tuple[str, ...], name: str, system: str) -> list[str]:
    """Return the texts of a chat with these roles, the line's system message aside."""
    turns = [_turn(turn, f"turn {number} of {name!r}") for number, turn in enumerate(chat, start=1)]
    if turns and turns[0][0] == SYSTEM and roles[0] == USER:
        if turns[0][1].strip() != system.strip():
            raise BadInputError(
                f"the system message of {name!r} is not that of the line: set format.system to it, where it is the same in all "
                "rows, or leave it out"
            )
        del turns[0]
    if (found := tuple(role for role, _ in turns)) != roles:
        raise BadInputError(
            f"{name!r} has the turns {', '.join(found[:4]) or 'none'}{', …' if len(found) > 4 else ''}: give one of "
            f"{', then one of '.join(roles)}, and a row to each question"
        )
    return [text for _, text in turns]


def _turn(turn: Any, where: str) -> tuple[str, str]:
    """Return role and text of a turn."""
    if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
        raise BadInputError(f"{where} has no texts 'role' and 'content': give both")
    if turn["role"] not in (SYSTEM, USER, ASSISTANT):
        raise BadInputError(f"{where} has the role {turn['role'][:20]!r}: use {SYSTEM}, {USER} or {ASSISTANT}")
    more = next((key for key, value in turn.items() if key not in ("role", "content") and value is not None), None)
    if more is not None:
        raise BadInputError(f"{where} has {more[:20]!r}, which would be lost: leave it out")
    return turn["role"], turn["content"]
