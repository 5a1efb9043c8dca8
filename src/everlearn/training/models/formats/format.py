"""The protocol of a format, which is bound to a tokenizer, a domain and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from everlearn.problem import Answer, Problem
    from everlearn.training.engines.decode import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt as text and as tokens."""

    text: str
    ids: list[int]


class Format(Protocol):
    """Prompts of a model, and how its completions are read."""

    @property
    def stops(self) -> frozenset[int]:
        """The tokens that end a completion."""
        ...

    @property
    def copies_markers(self) -> bool:
        """Whether a proposal may use only the markers of its prompt (`decode(copying=True)`)."""
        ...

    @property
    def asks_in_words(self) -> bool:
        """Whether proposals are asked in words, so that a model may be unable to make any."""
        ...

    def prompt(self, problem: Problem, *, rng: random.Random, solved: Sequence[Answer] = ()) -> Request:
        """Return the prompt that asks for a solution, after `solved` examples with their right answers.

        Raises GrammarError if the format cannot state the problem.
        """
        ...

    def propose(self, statement: str, move: str, *, rng: random.Random) -> Request:
        """Return the prompt that asks for a variant."""
        ...

    def max_tokens(self, prompt: Sequence[int]) -> int:
        """Return how many tokens a completion of this prompt may have."""
        ...

    def written(self, completion: Completion) -> str:
        """Return the text of a completion, without what belongs to the format alone."""
        ...

    def answer(self, completion: Completion) -> str:
        """Return the answer in a completion, empty if it was truncated, so that it is never rewarded."""
        ...

    def read_variant(self, statement: str, move: str, *, asked: str, written: str) -> str | None:
        """Return the statement of the variant that was written to the prompt `asked`, or None."""
        ...


class ServedFormat(Format, Protocol):
    """A format that the endpoint can serve as well."""

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> Request:
        """Return the prompt for an answer to messages with `role` and `content`. Raises GrammarError if it has none."""
        ...

    def read(self, completion: Completion) -> tuple[str, str]:
        """Return the reasoning and the text of a completion for a reader."""
        ...
