"""The library reasoning-gym: its tasks and their dials, the entry that it makes of a setting, and its score of an answer.

The library is not trusted to be quiet: what it prints is dropped, its warnings are ignored, and the global generators of
random numbers have the state after a call that they had before. They are seeded with the problem's seed, so that an entry
is the same in every process, wherever the library draws from them. Nothing that it raises is passed on as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import random
import warnings
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from everlearn.domains.gym.answer_guard import RefusedAnswerError, check_answer, guarded
from everlearn.errors import GrammarError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everlearn.domains.gym.dials import DialSetting, Levels

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from reasoning_gym.coaching.base_curriculum import DefaultCurriculumContext, RangeAttributeMode
    from reasoning_gym.factory import CURRICULA, DATASETS

# A level is a level: without this, a problem of a high level may be as easy as any below it.
_LEVELS = DefaultCurriculumContext(mode=RangeAttributeMode.UPPER_BOUND)
_ENTRIES = 1024
_DATA_SETS = 16


class LibraryError(Exception):
    """The library raised, or gave what it should not. Internal to the package: its message becomes a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryEntry:
    """What the library makes of a setting: a question, the stored answer, and all fields by which it scores answers."""

    task: str
    setting: DialSetting
    question: str
    answer: object
    fields: dict[str, Any]

    @property
    def question_digest(self) -> str:
        """SHA-256 of the question, spaces aside."""
        return hashlib.sha256(" ".join(self.question.split()).encode(errors="replace")).hexdigest()

    def score(self, answer: str) -> float:
        """Return the library's score of an answer.

        Raises:
            RefusedAnswerError: the library would run the answer as code.
            LibraryError: it raises, or the score is no finite number.
        """
        try:
            data_set = data_set_of(self.task, self.setting.levels)
            check_answer(data_set, answer, stored=self.answer)
            with _contained(seed=0), guarded(data_set, entry=self.fields):
                score = float(data_set.score_answer(answer, deepcopy(self.fields)))
        except RefusedAnswerError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever leaves the library is no judgement)
            raise LibraryError(f"the library's verifier raises {_told(error)}") from None
        if not math.isfinite(score):
            raise LibraryError(f"the library's verifier gives the score {score}")
        return score


def tasks() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    return tuple(sorted(DATASETS))


def dials_of(task: str) -> dict[str, int]:
    """Return the number of levels of each dial of a task, in the order of its curriculum; none without a curriculum."""
    if task not in CURRICULA:
        return {}
    with _contained(seed=0):
        return {name: len(attribute.levels) for name, attribute in CURRICULA[task]().attributes.items()}


@lru_cache(maxsize=_ENTRIES)
def entry_of(task: str, setting: DialSetting) -> LibraryEntry:
    """Return the entry of a setting, the same each time: the one at index `seed` of the library's data set of seed 0.

    It is also the first one of the data set of that seed, which is made where a data set ends before that index.

    Raises:
        GrammarError: the library makes none: it does not take these levels together, or not this seed.
    """
    try:
        with _contained(seed=setting.seed):
            try:
                fields = data_set_of(task, setting.levels)[setting.seed]
            except IndexError:
                fields = _data_set(task, setting.levels, seed=setting.seed)[0]
            question, answer = fields["question"], fields["answer"]
    except Exception as error:  # noqa: BLE001 (whatever leaves the library: it made no problem)
        raise GrammarError(f"the library makes no problem of {setting}: {_told(error)}") from None
    if not isinstance(question, str) or not question.strip():
        raise GrammarError(f"the library makes no problem of {setting}: its question is {question!r}"[:200])
    return LibraryEntry(task=task, setting=setting, question=question, answer=answer, fields=fields)


@lru_cache(maxsize=_DATA_SETS)
def data_set_of(task: str, levels: Levels) -> Any:
    """Return the data set of seed 0 with these levels, which scores the answers to all its entries.

    It is kept, because some take a second to make, and not with each entry, because some hold all words of a language.
    """
    return _data_set(task, levels, seed=0)


def _data_set(task: str, levels: Levels, *, seed: int) -> Any:
    with _contained(seed=seed):
        return DATASETS[task][0](_configuration(task, levels, seed=seed))


def _configuration(task: str, levels: Levels, *, seed: int) -> Any:
    """Return the library's configuration of a data set."""
    given = {"seed": seed, "size": 1}
    if task not in CURRICULA:
        return DATASETS[task][1](**given)
    curriculum = CURRICULA[task]()
    for name, level in levels:
        curriculum.set_attr_level(name, level)
    return curriculum.generate_configuration(given, context=_LEVELS)


@contextlib.contextmanager
def _contained(*, seed: int) -> Iterator[None]:
    """Drop output and warnings of the library, seed the global generators, and restore their state."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global generator is what the library may draw from)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (as above)
    try:
        dropped = io.StringIO()
        with contextlib.redirect_stdout(dropped), contextlib.redirect_stderr(dropped), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 (as above)


def _told(error: Exception) -> str:
    """Return the name and the message of an error, shortened and without lone surrogates."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return " ".join(text.encode(errors="replace").decode().split())[:160]
