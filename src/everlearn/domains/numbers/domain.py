"""Numbers: the problem is any text with a hidden reference, the answer the same number or expression.

An answer is right where our own check and math-verify both say so. Where they differ, it is UNDECIDED.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from everlearn.domains.answer_extraction import extract_answer
from everlearn.domains.numbers import sample_numbers
from everlearn.domains.numbers.measures import has_another_unit
from everlearn.domains.numbers.own_check import compare
from everlearn.domains.numbers.quantities import Quantity
from everlearn.domains.numbers.references import Symbolic, expressions_in, material_of, read_reference, read_stated
from everlearn.domains.numbers.second_opinion import MathVerify
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from everlearn.domains.numbers.references import Stated

LONGEST_STATEMENT = 8000  # characters
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_GROUPS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_QUOTES = dict.fromkeys(map(ord, "\u2018\u2019\u201c\u201d\u201e\u201a\u00ab\u00bb\u2026"), " ")
_TOKEN = re.compile(r"[0-9]+(?:[.,][0-9]+)*|\w+|[^\w\s.,;:!?'\"]")


class ReferencedNumbers:
    """The domain `numbers`. Raises BadInputError if math-verify is not installed."""

    name = "numbers"
    takes_references = True
    equivalence_scheme = "numbers/2"
    libraries = ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")

    def __init__(self) -> None:
        self._math_verify = MathVerify()

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row: its statement as it is, and its reference if it has one."""
        statement, reference = row["statement"].strip(), (row.get("reference") or "").strip()
        if not statement or len(statement) > LONGEST_STATEMENT or _UNPRINTABLE.search(statement):
            raise GrammarError(f"a statement is a text of 1 to {LONGEST_STATEMENT} printable characters")
        if reference:
            read_reference(reference)
        return Problem(id="", domain=self.name, statement=statement, reference=reference or None)

    def question(self, problem: Problem) -> str:
        """Return the statement, and how to answer."""
        return f"{problem.statement}\n\nAnswer with one exact number in lowest terms, or with one expression."

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Compare an answer with the reference, in two ways."""
        if problem.reference is None:
            return Verdict(ruling=Ruling.UNDECIDED, reason="the problem has no reference")
        reference = read_reference(problem.reference)
        try:
            given = read_stated(answer)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        if isinstance(given, Symbolic) and _may_be_copied(given, answer, problem.statement):
            return Verdict(ruling=Ruling.UNDECIDED, reason="the expression stands in the problem, and may be copied")
        if isinstance(given, Quantity) and _strange_words(given.unit, f"{problem.statement} {problem.reference}"):
            return Verdict(ruling=Ruling.UNDECIDED, reason="a word after the number that the problem does not have")
        if (
            isinstance(given, Quantity)
            and isinstance(reference, Quantity)
            and has_another_unit(given, reference=reference, statement=problem.statement)
        ):
            return Verdict(ruling=Ruling.UNDECIDED, reason="perhaps in another unit than the one that is asked for")
        return self._agreed(reference, given)

    def _agreed(self, reference: Stated, given: Stated) -> Verdict:
        """Return the verdict of our own check if math-verify agrees, or has no say in it."""
        compared = compare(reference, given)
        own = compared.verdict
        if compared.is_final:
            return own
        second = self._math_verify.says_equal(reference, given)
        if second is own.is_correct or (second is None and not own.is_correct):
            return own
        says = {True: "right", False: "wrong", None: "nothing"}[second]
        return Verdict(ruling=Ruling.UNDECIDED, reason=f"our own check says {own.ruling}, and math-verify {says}")

    def extract(self, completion: str) -> str:
        """Return the answer in a completion: as `extract_answer` does, and of `… #### 42` what follows the mark."""
        return extract_answer(completion).rpartition("####")[2].strip()

    def equivalence(self, statement: str) -> str:
        """Return the words, numbers and symbols of the statement, in small letters and without punctuation.

        Dashes are one character, numbers have no commas between groups of digits, and letters with accents one form.
        """
        text = _GROUPS.sub("", unicodedata.normalize("NFKC", statement).casefold())
        plain = "".join("-" if unicodedata.category(each) == "Pd" else each for each in text.translate(_QUOTES))
        return " ".join(_TOKEN.findall(plain)) or statement

    def solve(self, problem: Problem) -> str | None:
        """Return the value of the reference in plain notation."""
        return None if problem.reference is None else sample_numbers.right_text(read_reference(problem.reference))

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        """Return answers that are close to the right one, and other numbers."""
        return sample_numbers.wrong_texts(read_reference(problem.reference or answer), rng)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:
        """Return the right answer in other notations."""
        return sample_numbers.other_texts(read_reference(problem.reference or answer))


def _strange_words(unit: str, text: str) -> list[str]:
    """Return the words of a unit that no word of a text begins with; short units, such as km, are known everywhere."""
    known = re.findall("[a-z]+", text.casefold())
    words = re.findall("[a-z]{4,}", unit)
    return [word for word in words if not any(each.startswith(word[:-1]) for each in known)]


def _may_be_copied(given: Symbolic, answer: str, statement: str) -> bool:
    """Return whether an expression stands in the problem, in this notation or with its parts in another order or notation."""
    if _letters(answer) in _letters(statement):
        return True
    own = material_of(given.tree)
    return any(material_of(each) == own for each in expressions_in(statement))


def _letters(text: str) -> str:
    """Return a formula without spaces and signs of multiplication, to find it in a text."""
    return re.sub(r"[\s*$\\]|\.$", "", text.strip())
