"""The format `marked`: the notation of the demo model, for domains whose problems are sums of terms.

A completion may be half as long again as its prompt, and 16 tokens more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.errors import GrammarError
from everlearn.training.models.formats import marked_notation
from everlearn.training.models.formats.format import Request

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from everlearn.domains.contract import Domain
    from everlearn.problem import Answer, Problem
    from everlearn.training.engines.decode import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedFormat:
    """See `Format`."""

    tokenizer: PreTrainedTokenizerBase
    domain: Domain
    stops: frozenset[int]
    copies_markers: bool = True
    asks_in_words: bool = False

    def prompt(self, problem: Problem, *, rng: random.Random, solved: Sequence[Answer] = ()) -> Request:
        """Return the prompt, with markers drawn from `rng`. Raises GrammarError for more terms than markers."""
        shown = [
            marked_notation.solved_request(
                self.domain.split(each.problem.statement), self._answer_terms(each.text), rng=rng
            )
            for each in solved
        ]
        return self._request(problem.statement, verb=marked_notation.SOLVE, rng=rng, shown=shown)

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> Request:  # noqa: ARG002
        """Raise GrammarError: the notation knows problems alone."""
        raise GrammarError(
            f"the model answers problems of the domain {self.domain.name} only; send one as the last message"
        )

    def propose(self, statement: str, move: str, *, rng: random.Random) -> Request:
        """Return the prompt for an easier variant; the verb is the name of the move."""
        return self._request(statement, verb=move, rng=rng)

    def max_tokens(self, prompt: Sequence[int]) -> int:
        """Return half as many tokens again as the prompt has, without examples before it, and 16 more."""
        verb = self.tokenizer.convert_tokens_to_ids(marked_notation.SOLVE)
        asked = max((at for at, token in enumerate(prompt) if token == verb), default=1)
        return 16 + (len(prompt) - asked + 1) * 3 // 2

    def written(self, completion: Completion) -> str:
        """Return the text, without special tokens."""
        return str(self.tokenizer.decode(completion.ids, skip_special_tokens=True))

    def read(self, completion: Completion) -> tuple[str, str]:
        """Return no reasoning, and the terms without markers."""
        return "", marked_notation.without_markers(self.written(completion))

    def answer(self, completion: Completion) -> str:
        """Return the terms without markers."""
        return marked_notation.without_markers(self.written(completion)) if completion.finished else ""

    def read_variant(self, statement: str, move: str, *, asked: str, written: str) -> str | None:  # noqa: ARG002
        """Return the variant that a completion proposes, or None."""
        terms = marked_notation.moved_terms(move, asked, written)
        return None if terms is None else self.domain.join(terms)

    def _answer_terms(self, text: str) -> list[str]:
        try:
            return self.domain.split(text)
        except GrammarError:  # a right answer in a notation that problems do not have
            return [text]

    def _request(self, statement: str, *, verb: str, rng: random.Random, shown: Sequence[str] = ()) -> Request:
        text = " ".join([*shown, marked_notation.request(self.domain.split(statement), rng=rng, verb=verb)])
        return Request(text=text, ids=list(self.tokenizer(text).input_ids))
