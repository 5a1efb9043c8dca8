"""Arithmetic: the problem is an addition or multiplication of two whole numbers, the answer its exact result.

The size of a problem is the number of digits of its longer number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.domains.answer_extraction import extract_answer
from everlearn.domains.arithmetic import moves
from everlearn.domains.arithmetic.columns import written_result
from everlearn.domains.arithmetic.grammar import MAX_DIGITS, Calculation, Operation, read_answer, read_calculation
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence


class Arithmetic:
    """The domain `arithmetic`."""

    name = "arithmetic"
    moves = moves.MOVES

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row, written in digits and a symbol: `347 + 58`."""
        return self._problem(read_calculation(row["statement"]))

    def question(self, problem: Problem) -> str:
        """Return the task in words."""
        return f"What is {read_calculation(problem.statement)}?"

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer exactly."""
        asked = read_calculation(problem.statement)
        try:
            given = read_answer(answer)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        return _verdict(is_right=given == asked.result, given=given, asked=asked)

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer again, by its digits and a calculation in columns."""
        asked = read_calculation(problem.statement)
        try:
            given = read_answer(answer)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        return _verdict(is_right=str(given) == written_result(asked), given=given, asked=asked)

    def solve(self, problem: Problem) -> str:
        """Return the result."""
        return str(read_calculation(problem.statement).result)

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        """Return other numbers: a digit changed, a carry forgotten, the other operation."""
        asked = read_calculation(problem.statement)
        right = int(answer)
        others = {right + step * 10**place for place in range(len(answer)) for step in (-1, 1, rng.randint(2, 8))}
        other = Operation.MULTIPLICATION if asked.operation is Operation.ADDITION else Operation.ADDITION
        others |= {-right, int(answer[::-1]), int(f"{answer}0"), int(f"{asked.left}{asked.right}")}
        others |= {replace(asked, operation=other).result, asked.left, asked.right}
        return [str(number) for number in sorted(others - {right})]

    def same_answers(self, problem: Problem, answer: str) -> list[str]:  # noqa: ARG002
        """Return the result in other notation."""
        return [f"{answer}.", f"= {answer}", f"+{answer}", f"0{answer}", f"{int(answer):,}", f" {answer}\n"]

    def extract(self, completion: str) -> str:
        """Return the answer in a completion: as `extract_answer` does, and of `3 + 4 = 7` what follows the equals sign."""
        return extract_answer(completion).rpartition("=")[2].strip()

    def canonical(self, statement: str) -> str:
        """Return the calculation with the smaller number first."""
        asked = read_calculation(statement)
        left, right = sorted((asked.left, asked.right))
        return str(Calculation(operation=asked.operation, left=left, right=right))

    def size(self, statement: str) -> int:
        """Return the number of digits of the longer number."""
        return read_calculation(statement).digits

    def difficulty(self, statement: str) -> str:
        """Return a label such as `8-digit addition`."""
        asked = read_calculation(statement)
        return f"{asked.digits}-digit {asked.operation}"

    def skill(self, statement: str) -> str:
        """Return the operation."""
        return read_calculation(statement).operation

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a calculation of the same operation and lengths as one of `like`, or an addition of `size` digits each."""
        digits, operation = (min(size, MAX_DIGITS),) * 2, Operation.ADDITION
        if like:
            model = read_calculation(rng.choice(like).statement)
            digits, operation = (len(str(model.left)), len(str(model.right))), model.operation
        left, right = (_draw(rng, digits=count) for count in digits)
        return self._problem(Calculation(operation=operation, left=left, right=right))

    def propose(self, statement: str, move: str) -> str:
        """Return the words that ask a model for a variant with fewer digits."""
        return moves.words(read_calculation(statement), move)

    def read_variant(self, statement: str, move: str, text: str) -> str | None:  # noqa: ARG002
        """Return the variant that a model wrote, if it is an easier calculation of the same kind."""
        variant = moves.read(read_calculation(statement), extract_answer(text))
        return None if variant is None else str(variant)

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return a variant with fewer digits, derived without a model."""
        variant = moves.derive(read_calculation(statement), move, rng=rng)
        return None if variant is None else str(variant)

    def _problem(self, asked: Calculation) -> Problem:
        return Problem(id="", domain=self.name, statement=str(asked))


def _verdict(*, is_right: bool, given: int | None, asked: Calculation) -> Verdict:
    if is_right:
        return Verdict(ruling=Ruling.CORRECT, reason=f"{asked} = {given}")
    shown = "the answer has too many digits" if given is None else f"{asked} is not {given}"
    return Verdict(ruling=Ruling.WRONG, reason=shown)


def _draw(rng: random.Random, *, digits: int) -> int:
    """Return a number of that many digits; 0 is one digit."""
    return rng.randrange(0 if digits == 1 else 10 ** (digits - 1), 10**digits)
