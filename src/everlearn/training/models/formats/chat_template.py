"""Render messages by the tokenizer's chat template, or by a plain one where it has none.

The template's text is tokenized without adding special tokens, so that a template with a BOS token gives one and not
two. Special tokens that stand in a message are broken up: a problem cannot end its own turn. A template that writes
today's date gets the same one every day, so that equal problems have equal prompts in each night, and in a night that
is resumed on the next day.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger("everlearn.learn")
NEXT_QUESTION = "\nQuestion:"
"""Where a model without a template goes on with a question of its own."""

DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The date for templates that ask for today's: the one that Llama's have of their own."""
DIRECTIVES = [*"aAbBdHIjmMpSUwWyY", "-d", "-m", "-H", "-I", "-M"]
"""The directives of `strftime` that are filled in."""
_SAME_DATE = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{each}', '{DATE.strftime(f'%{each}')}')" for each in DIRECTIVES)
    + " }}{% endmacro %}\n"
)
"""Beginning of a template that replaces transformers' `strftime_now`: arguments of a template cannot be functions."""

_PLAIN = {"system": "{}\n\n", "user": "Question: {}\n", "assistant": "Answer: {}\n\n"}

Message = dict[str, str]


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the special tokens: those with a name, and those that are only flagged, as the marks of Llama 3's turns are."""
    flagged = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *flagged]))


class ChatTemplate:
    """A tokenizer's template for a system text, examples and a question. `arguments` are what the template takes besides."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, system: str, arguments: Mapping[str, Any]) -> None:
        self._tokenizer: Any = tokenizer
        self._specials = special_tokens(tokenizer)
        self._arguments = dict(arguments)
        self._system = system
        own = getattr(tokenizer, "chat_template", None)
        self.is_own = own is not None
        if isinstance(own, str) and "strftime_now" in own:
            self._arguments["chat_template"] = _SAME_DATE + own
        if not self.is_own:
            LOG.info("format chat: the tokenizer has no chat template; asked as Question and Answer")
        self._system_in_turn = bool(system) and self.is_own and not self._takes_system()

    def render(self, question: str, *, examples: Sequence[tuple[str, str]] = ()) -> str:
        """Return the text up to where the model answers, after examples of questions and answers."""
        return self._rendered(self._messages(question, examples))

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return messages with `role` and `content` up to where the model answers.

        Raises:
            GrammarError: the template does not take them, such as two messages of the user in a row.
        """
        said = [{"role": each["role"], "content": self.broken_up(each["content"])} for each in messages]
        if self._system and said[0]["role"] != "system":
            if self._system_in_turn:
                said[0] = said[0] | {"content": f"{self._system}\n\n{said[0]['content']}"}
            else:
                said.insert(0, {"role": "system", "content": self._system})
        from jinja2 import TemplateError

        try:
            return self._rendered(said)
        except TemplateError as error:
            raise GrammarError(f"the chat template of the model does not take these messages: {error}") from None

    def encode(self, text: str) -> list[int]:
        """Return the tokens. A plain text begins with what the tokenizer adds; no end token is added."""
        ids: list[int] = list(self._tokenizer(text, add_special_tokens=not self.is_own).input_ids)
        if not self.is_own and len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id:
            ids.pop()
        return ids

    def end_of_answer(self, stops: frozenset[int]) -> int:
        """Return the stop token that the template puts after an answer; without a template, or such a token, the end token."""
        end: int = min(stops) if self._tokenizer.eos_token_id is None else self._tokenizer.eos_token_id
        if not self.is_own:
            return end
        asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
        rest = self._apply(asked, is_open=False).rpartition("!")[2]
        after: list[int] = self._tokenizer(rest, add_special_tokens=False).input_ids
        return next((token for token in after if token in stops), end)

    def without_specials(self, text: str) -> str:
        """Return the text of a completion without special tokens."""
        for token in self._specials:
            text = text.replace(token, "")
        return text

    def broken_up(self, text: str) -> str:
        """Return the text with the special tokens in it broken up."""
        for token in self._specials:
            if len(token) > 1:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _messages(self, question: str, examples: Sequence[tuple[str, str]]) -> list[Message]:
        messages: list[Message] = []
        for asked, answer in [*examples, (question, None)]:
            messages.append({"role": "user", "content": self.broken_up(asked)})
            if answer is not None:
                messages.append({"role": "assistant", "content": self.broken_up(answer)})
        if self._system_in_turn:
            messages[0]["content"] = f"{self._system}\n\n{messages[0]['content']}"
        elif self._system:
            messages.insert(0, {"role": "system", "content": self._system})
        return messages

    def _takes_system(self) -> bool:
        """Return whether the template has system messages: Gemma's raises an error, Phi-3's leaves them out."""
        from jinja2 import TemplateError

        with contextlib.suppress(TemplateError):
            asked = self._apply([{"role": "system", "content": self._system}, {"role": "user", "content": "?"}])
            if self._system.strip() in asked:
                return True
        LOG.info("format chat: the template has no system message; it is put before the first question")
        return False

    def _rendered(self, messages: list[Message]) -> str:
        if self.is_own:
            return self._apply(messages)
        return "".join(_PLAIN[message["role"]].format(message["content"]) for message in messages) + "Answer:"

    def _apply(self, messages: list[Message], *, is_open: bool = True) -> str:
        """Return the messages in the tokenizer's template, with `is_open` up to where the model answers."""
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=is_open, **self._arguments
            )
        )
