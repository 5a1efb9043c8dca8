"""The format `chat`: a question in words, in the tokenizer's chat template, and an answer within a limit of tokens.

What stands between the reasoning tags is kept apart: it is neither an answer nor a proposal. A completion without an
end token is truncated; so is one whose reasoning has no end.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from everlearn.domains.mixture import SEPARATOR
from everlearn.errors import GrammarError
from everlearn.training.models.formats.chat_template import NEXT_QUESTION, ChatTemplate
from everlearn.training.models.formats.format import Request

STATEMENT = "{statement}"
"""Placeholder in `format.answer_prefix` for the statement of the problem."""

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from everlearn.domains.contract import Domain
    from everlearn.problem import Answer, Problem
    from everlearn.settings import FormatSettings
    from everlearn.training.engines.decode import Completion


class ChatFormat:
    """See `Format`."""

    copies_markers = False
    asks_in_words = True

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        domain: Domain,
        settings: FormatSettings,
        stops: frozenset[int],
    ) -> None:
        self._tokenizer, self._domain, self._settings = tokenizer, domain, settings
        self.stops = stops
        self._template = ChatTemplate(tokenizer, system=settings.system, arguments=settings.template)
        self._asked_in_examples = [self._keys(asked) for asked, _ in settings.examples]
        self._opening, self._closing = settings.reasoning
        # Templates of some models open the reasoning themselves.
        self._starts_in_reasoning = bool(self._opening and self._closing) and self._template.render(
            "?"
        ).rstrip().endswith(self._opening)

    def prompt(self, problem: Problem, *, rng: random.Random, solved: Sequence[Answer] = ()) -> Request:  # noqa: ARG002
        """Return the question of the domain in the template, after the examples, and the beginning of the answer."""
        shown = [(self._domain.question(each.problem), self._begun(each.problem) + each.text) for each in solved]
        asked = self._template.render(self._domain.question(problem), examples=[*self._examples_for(problem), *shown])
        return self._request(asked + self._begun(problem))

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> Request:
        """Return the messages in the template."""
        return self._request(self._template.conversation(messages))

    def demonstration(self, text: str) -> list[int]:
        """Return the tokens of a completion with this text and the end token that the template puts after an answer."""
        said = self._template.broken_up(text)
        begun = " " if not self._template.is_own and not said.startswith(" ") else ""
        ids: list[int] = list(self._tokenizer(begun + said, add_special_tokens=False).input_ids)
        return [*ids, self._template.end_of_answer(self.stops)]

    def propose(self, statement: str, move: str, *, rng: random.Random) -> Request:  # noqa: ARG002
        """Return the domain's words for a variant in the template."""
        return self._request(self._template.render(self._domain.propose(statement, move)))

    def max_tokens(self, prompt: Sequence[int]) -> int:  # noqa: ARG002
        """Return the setting `format.max_tokens`."""
        return self._settings.max_tokens

    def written(self, completion: Completion) -> str:
        """Return the text after the reasoning; empty if it was truncated."""
        return self.read(completion)[1]

    def answer(self, completion: Completion) -> str:
        """Return the answer that the domain finds in the text after the reasoning."""
        written = self.written(completion)
        return self._domain.extract(written) if written else ""

    def read(self, completion: Completion) -> tuple[str, str]:
        """Return the reasoning and the text after it. A truncated completion has no text."""
        ids = completion.ids[:-1] if completion.finished else completion.ids
        text = str(self._tokenizer.decode(ids, skip_special_tokens=False))
        is_complete = completion.finished
        if not self._template.is_own and NEXT_QUESTION in text:
            text, is_complete = text.partition(NEXT_QUESTION)[0], True
        reasoning, rest = self._split(text)
        if rest is None or not is_complete:
            return reasoning or text, ""
        return reasoning, self._template.without_specials(rest).strip()

    def read_variant(self, statement: str, move: str, *, asked: str, written: str) -> str | None:  # noqa: ARG002
        """Return the variant that the domain reads in the text, or None."""
        return self._domain.read_variant(statement, move, written) if written else None

    def _examples_for(self, problem: Problem) -> list[tuple[str, str]]:
        """Return the examples of the settings, except those that ask for this problem: its answer would be in the prompt."""
        if not self._asked_in_examples:
            return []
        own = {self._domain.question(problem), *self._keys(problem.statement)}
        pairs = zip(self._settings.examples, self._asked_in_examples, strict=True)
        return [example for example, keys in pairs if not own & keys]

    def _keys(self, asked: str) -> set[str]:
        """Return the text, and what is equal for equivalent problems as far as the domain, or a member of a mixture, reads it."""
        keys, parts = {asked}, self._domain.parts
        for text in [asked, *(f"{part}{SEPARATOR}{asked}" for part in parts if len(parts) > 1)]:
            with contextlib.suppress(GrammarError):
                keys.add(self._domain.equivalence(self._domain.problem(text).statement))
        return keys

    def _begun(self, problem: Problem) -> str:
        return self._settings.answer_prefix.replace(STATEMENT, self._template.broken_up(problem.statement))

    def _split(self, text: str) -> tuple[str, str | None]:
        """Return the reasoning and what follows it, None if it does not end. With a closing tag alone, all before it is reasoning."""
        if not self._closing:
            return "", text
        before, closed, after = text.rpartition(self._closing)
        if closed:
            is_again = bool(self._opening) and self._opening in after
            return before.removeprefix(self._opening).strip(), None if is_again else after
        return (text, None) if self._starts_in_reasoning or self._opening in text else ("", text)

    def _request(self, text: str) -> Request:
        return Request(text=text, ids=self._template.encode(text))
