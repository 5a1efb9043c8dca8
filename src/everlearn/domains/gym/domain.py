"""Gym: the tasks of reasoning-gym. A problem is levels of difficulty and a seed, and the library makes and judges it.

An answer is right where the library's score of it is exactly 1. What the library cannot score is UNDECIDED.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everlearn.domains.gym import library
from everlearn.domains.gym.answer_guard import RefusedAnswerError
from everlearn.domains.gym.dials import SEEDS, DialSetting, read_setting
from everlearn.domains.gym.library import LibraryError, entry_of
from everlearn.domains.gym.near_misses import near_misses, other_copies
from everlearn.errors import BadInputError, GrammarError
from everlearn.problem import Problem, Ruling, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from everlearn.domains.gym.dials import Levels
    from everlearn.domains.gym.library import LibraryEntry

_TRIES = 20  # seeds, and where no problem is given also levels, for one generated problem
_CHECKED = 8  # hexadecimal digits of a check sum
_LONGEST = 2000  # characters of an answer, beside four times those of the stored one
_ENDLESS = re.compile(r"(?<![a-z])(?:s?nan|inf(?:inity)?)(?![a-hk-z])", re.IGNORECASE)  # no difference from it is large
_HUGE = re.compile(r"[0-9.][eE][+-]?[0-9_]{4}")  # as a fraction, such a number may take all memory


class Gym:
    """The domain of one task: `Gym("chain_sum")` is `gym/chain_sum`."""

    libraries = ("reasoning-gym", "sympy")
    model_proposes = False
    equivalence_scheme = "gym/1"
    tasks = staticmethod(library.tasks)

    def __init__(self, task: str) -> None:
        self.name = f"gym/{task}"
        self._task = task
        self._dials = library.dials_of(task)

    @property
    def moves(self) -> tuple[str, ...]:
        """The dials: a move turns one of them down by a level. None for a task without a curriculum."""
        return tuple(self._dials)

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Return the problem of a row, if the library can make it: `num_terms 2, num_digits 1, seed 17, check 1f3a9c20`."""
        return self._problem(self._setting(row["statement"]))

    def question(self, problem: Problem) -> str:
        """Return the question that the library asks. Raises GrammarError if it is not the one of the check sum."""
        return self._entry(self._setting(problem.statement)).question

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Judge an answer by the library's score."""
        setting = self._setting(problem.statement)
        try:
            entry = self._entry(setting)
        except GrammarError as error:
            return Verdict(ruling=Ruling.UNDECIDED, reason=str(error))
        if fault := _fault(answer, stored=str(entry.answer)):
            return Verdict(ruling=Ruling.UNREADABLE, reason=fault)
        try:
            score = entry.score(answer)
        except RefusedAnswerError as error:
            return Verdict(ruling=Ruling.UNREADABLE, reason=str(error))
        except LibraryError as error:
            return Verdict(ruling=Ruling.UNDECIDED, reason=str(error))
        return Verdict(
            ruling=Ruling.CORRECT if score == 1 else Ruling.WRONG, reason=f"the library's score is {score:.6g}"
        )

    def canonical(self, statement: str) -> str:
        """Return the statement with all dials, in the order of the curriculum, and without a check sum."""
        return str(replace(self._setting(statement), check=""))

    def equivalence(self, statement: str) -> str:
        """Return a digest of the question, spaces aside: other levels and seeds may ask the same."""
        return self._entry(self._setting(statement)).question_digest

    def size(self, statement: str) -> int:
        """Return 1 plus the sum of the levels."""
        return self._setting(statement).size

    def generate(self, rng: random.Random, *, like: Sequence[Problem] = (), size: int = 1) -> Problem:
        """Return a problem of the levels of one of `like`, or of random levels of that size.

        Not all levels go together: after every 4 tries without a problem, the size is 1 smaller.

        Raises:
            BadInputError: the library makes none in 20 tries.
        """
        failed = ""
        most = 1 + sum(count - 1 for count in self._dials.values())
        for number in range(_TRIES):
            tried = max(1, min(size, most) - number // 4)
            levels = self._setting(rng.choice(like).statement).levels if like else self._levels(rng, size=tried)
            try:
                return self._problem(DialSetting(levels=levels, seed=rng.randrange(SEEDS)))
            except GrammarError as error:
                failed = str(error)
        raise BadInputError(f"domain {self.name} generates no problem: {failed}")

    def propose(self, statement: str, move: str) -> str:
        """Return words that nobody needs: a problem is a program's, and has a move of its own for each dial."""
        return (
            f"The problem {statement!r} of {self.name} is made by a program from levels and a seed, and an easier one by a "
            f"lower level of {move}. There is nothing to write: answer with the word none."
        )

    def read_variant(self, statement: str, move: str, text: str) -> str | None:  # noqa: ARG002 (as the contract names them)
        """Return None: a model cannot write a problem of this domain."""
        return None

    def ease(self, statement: str, move: str, *, rng: random.Random) -> str | None:
        """Return a problem with this dial a level lower and another seed; None at its lowest level, or if the library makes none."""
        setting = self._setting(statement)
        for _ in range(_TRIES):
            easier = setting.turned_down(move, seed=rng.randrange(SEEDS))
            if easier is None:
                return None
            with contextlib.suppress(GrammarError):
                return self._problem(easier).statement
        return None

    def solve(self, problem: Problem) -> str | None:
        """Return the answer that the library stores, if it is a text."""
        answer = self._entry(self._setting(problem.statement)).answer
        return answer if isinstance(answer, str) and answer.strip() else None

    def wrong_answers(self, problem: Problem, answer: str, *, rng: random.Random) -> list[str]:
        """Return answers near a right number or right list; nothing for other answers, of which several may be right."""
        return near_misses(answer, rng=rng) or other_copies(answer, self.question(problem), rng=rng)

    def same_answers(self, problem: Problem, answer: str) -> list[str]:  # noqa: ARG002 (as the contract names them)
        """Return nothing: which notations count is the library's."""
        return []

    def _setting(self, statement: str) -> DialSetting:
        return read_setting(statement, dials=self._dials)

    def _entry(self, setting: DialSetting) -> LibraryEntry:
        """Return the library's entry. Raises GrammarError if it makes none, or another question than the one of the check sum."""
        entry = entry_of(self._task, replace(setting, check=""))
        if setting.check and setting.check != entry.question_digest[:_CHECKED]:
            raise GrammarError(
                f"the library asks something else of {setting} than when it was stored: another version, or {self.name} is "
                f"a task whose questions differ from process to process and cannot be used"
            )
        return entry

    def _problem(self, setting: DialSetting) -> Problem:
        """Return the problem with the check sum of its question. Raises GrammarError if the library makes none."""
        check = self._entry(setting).question_digest[:_CHECKED]
        return Problem(id="", domain=self.name, statement=str(replace(setting, check=check)))

    def _levels(self, rng: random.Random, *, size: int) -> Levels:
        """Return random levels whose sum is `size` - 1."""
        steps = [dial for dial, count in self._dials.items() for _ in range(count - 1)]
        levels = dict.fromkeys(self._dials, 0)
        for dial in rng.sample(steps, size - 1):
            levels[dial] += 1
        return tuple(levels.items())


def _fault(answer: str, *, stored: str) -> str:
    """Return why a text is no answer; empty for one that may be."""
    if not answer.strip():
        return "there is no answer"
    if len(answer) > (longest := _LONGEST + 4 * len(stored)):
        return f"the answer has {len(answer)} characters: at most {longest} are read"
    if "\x00" in answer or any("\ud800" <= letter <= "\udfff" for letter in answer):
        return "the answer has characters that no text has"
    if _HUGE.search(answer) and not _HUGE.search(stored):
        return "the answer has a number with more than three digits in its exponent"
    if _ENDLESS.search(answer) and not _ENDLESS.search(stored):
        return "the answer has what is no finite number"
    return ""
