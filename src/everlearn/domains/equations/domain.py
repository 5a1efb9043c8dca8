"""Equations: the problem is an equation in one unknown or a linear system, the answer all of its real solutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.domains.answer_extraction import extract_answer
from everlearn.domains.equations import keys, moves, sample_answers, weights
from everlearn.domains.equations.answers import Claim, read_claim
from everlearn.domains.equations.similar_equations import draw_similar, templates
from everlearn.domains.equations.statements import Equations, read_equations
from everlearn.domains.equations.verifier import judge_exactly
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

_NEAREST = 3  # forms among which one is drawn for a size


class EquationSolving:
    """The domain `equations`."""

    name = "equations"
    moves = moves.MOVES
    equivalence_scheme = keys.SCHEME
    libraries = ("sympy",)

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row, written in symbols: `2*x + 3 = 7`, `2*x + y = 5; x - y = 1`."""
        return self._problem(read_equations(row["statement"]))

    def question(self, problem: Problem) -> str:
        """Return the task in words."""
        asked = read_equations(problem.statement)
        if len(asked.unknowns) > 1:
            form = ", ".join(f"{name} = …" for name in asked.unknowns)
            return (
                f"Solve the system {asked.text}. Write the solution as {form} with exact, simplified numbers, or answer: "
                f"no solution."
            )
        [name] = asked.unknowns
        return (
            f"Find all real solutions of {asked.text}. Write each one once, as {name} = … or {name} = …, with exact, "
            f"simplified numbers, or answer: no solution."
        )

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer exactly."""
        return _judged(judge_exactly, problem, answer)

    def recheck(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer again, by SymPy."""
        from everlearn.domains.equations.recheck import judge_by_sympy  # imports SymPy

        return _judged(judge_by_sympy, problem, answer)

    def extract(self, completion: str) -> str:
        """Return the answer in a completion, as `extract_answer` does."""
        return extract_answer(completion)

    def canonical(self, statement: str) -> str:
        """Return the equations with all terms on the left, in one order."""
        return keys.canonical(read_equations(statement))

    def equivalence(self, statement: str) -> str:
        """Return a key that is equal for scaled, rearranged and renamed equations."""
        return keys.equivalence(read_equations(statement))

    def size(self, statement: str) -> int:
        """Return the size of what is written: numbers, unknowns, degree and brackets."""
        return weights.size(read_equations(statement))

    def difficulty(self, statement: str) -> str:
        """Return a label such as `quadratic, size 5`."""
        asked = read_equations(statement)
        return f"{asked.kind}, size {weights.size(asked)}"

    def skill(self, statement: str) -> str:
        """Return the kind of the equations."""
        return read_equations(statement).kind

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return an equation of the kind and form of one of `like`, or of a form of about that size."""
        if like:
            model = read_equations(rng.choice(like).statement)
        else:
            model = rng.choice(sorted(templates(), key=lambda each: abs(weights.size(each) - size))[:_NEAREST])
        return self._problem(draw_similar(rng, model) or model)

    def propose(self, statement: str, move: str) -> str:
        """Return the words that ask a model for a variant."""
        return moves.words(read_equations(statement), move)

    def read_variant(self, statement: str, move: str, text: str) -> str | None:  # noqa: ARG002 (of the contract)
        """Return the variant that a model wrote, if it is an easier equation."""
        variant = moves.read_easier(read_equations(statement), extract_answer(text))
        return None if variant is None else variant.text

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return an easier variant, derived without a model."""
        variant = moves.derive(read_equations(statement), move, rng=rng)
        return None if variant is None else variant.text

    def solve(self, problem: Problem) -> str | None:
        """Return all solutions in the usual notation."""
        return sample_answers.right_answer(read_equations(problem.statement))

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:  # noqa: ARG002 (of the contract)
        """Return answers with other solutions than the right ones."""
        return sample_answers.wrong_answers(read_equations(problem.statement), rng)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:  # noqa: ARG002 (of the contract)
        """Return the right answer in other notations."""
        return sample_answers.other_notations(read_equations(problem.statement))

    def _problem(self, asked: Equations) -> Problem:
        return Problem(id="", domain=self.name, statement=asked.text)


def _judged(judge: Callable[[Equations, Claim], Verdict], problem: Problem, answer: str) -> Verdict:
    """Return the verdict; UNREADABLE for an answer that states no solutions."""
    asked = read_equations(problem.statement)
    try:
        return judge(asked, read_claim(answer, asked.unknowns))
    except GrammarError as error:
        return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
