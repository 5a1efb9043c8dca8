"""The library's tasks, entries and scores, whatever the library does."""

from __future__ import annotations

import random
import sys
import threading
import types
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reasoning_gym.factory import DATASETS

from everlearn.domains.gym import library
from everlearn.domains.gym.dials import DialSetting, read_setting
from everlearn.domains.gym.library import LibraryEntry, LibraryError, data_set_of, dials_of, entry_of
from everlearn.errors import GrammarError


def entry(task: str = "chain_sum", statement: str = "seed 1") -> LibraryEntry:
    return entry_of(task, read_setting(statement, dials=dials_of(task)))


class Noisy:
    """A data set that prints, warns, draws from the global generators, and is made to fail."""

    made: object = {"question": "?", "answer": "1"}
    score: object = 1

    def __init__(self, config: object) -> None:
        self.config = config

    def __getitem__(self, index: int) -> Any:
        print("noise")  # noqa: T201 (what the library does)
        sys.stderr.write("noise")
        warnings.warn("noise", stacklevel=1)
        drawn = [random.random(), float(np.random.random())]  # noqa: NPY002 (what the library may do)
        return {"drawn": drawn, **self.made} if isinstance(self.made, dict) else self.made

    def score_answer(self, answer: str, entry: dict[str, Any]) -> Any:
        entry["answer"] = answer
        if isinstance(self.score, Exception):
            raise self.score
        return self.score


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> type[Noisy]:
    kind = type("Made", (Noisy,), {})
    monkeypatch.setitem(DATASETS, "noisy", (kind, types.SimpleNamespace))
    entry_of.cache_clear()
    data_set_of.cache_clear()
    return kind


def test_every_task_of_the_library_is_one_of_the_family() -> None:
    assert {"chain_sum", "spell_backward", "leg_counting"} <= set(library.tasks())
    assert list(library.tasks()) == sorted(library.tasks())


def test_a_dial_is_an_attribute_of_the_curriculum() -> None:
    assert list(dials_of("chain_sum")) == ["num_terms", "num_digits"]
    assert dials_of("list_functions") == {}


def test_a_level_is_a_level_and_not_all_below_it() -> None:
    """In the library's own reading, level 3 would mean 1 to 4 digits."""
    for seed in range(10):
        fields = entry(statement=f"num_terms 2, num_digits 3, seed {seed}").fields
        assert (fields["metadata"]["num_terms"], fields["metadata"]["num_digits"]) == (4, 4)


def test_an_entry_is_the_same_each_time() -> None:
    first = entry()
    entry_of.cache_clear()
    assert (entry().question, entry().answer) == (first.question, first.answer)
    assert entry(statement="seed 2").question != first.question


@pytest.mark.parametrize("task", ["list_functions", "gsm_symbolic"])
def test_a_data_set_that_ends_early_has_entries_by_seed(task: str) -> None:
    """Neither has a curriculum."""
    assert entry(task, "seed 1").question != entry(task, "seed 2").question


@pytest.mark.parametrize("task", ["chain_sum", "leg_counting"])
def test_an_entry_by_index_is_the_first_one_of_its_seed(task: str) -> None:
    made = entry(task, "seed 77")
    assert library._data_set(task, made.setting.levels, seed=77)[0]["question"] == made.question


def test_the_library_is_quiet_and_leaves_the_generators(noisy: type[Noisy], capsys: pytest.CaptureFixture[str]) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    first, again, other = (entry_of.__wrapped__("noisy", DialSetting(levels=(), seed=seed)) for seed in (1, 1, 2))
    assert first.fields["drawn"] == again.fields["drawn"] != other.fields["drawn"]
    assert first.score("2") == 1
    assert first.fields["answer"] == "1", "a verifier that changes its entry changes a copy"
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]  # noqa: NPY002
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "TypeError"),
        ({"answer": "1"}, "KeyError: 'question'"),
        ({"question": " ", "answer": "1"}, "its question is ' '"),
        ({"question": 7, "answer": "1"}, "its question is 7"),
    ],
)
def test_what_is_no_entry_is_no_problem(noisy: type[Noisy], made: object, message: str) -> None:
    noisy.made = made
    with pytest.raises(GrammarError, match=f"the library makes no problem of seed 1: .*{message}"):
        entry_of("noisy", DialSetting(levels=(), seed=1))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (ValueError("no \ud800"), r"the library's verifier raises ValueError: no \?"),
        (RecursionError(), "the library's verifier raises RecursionError$"),
        (float("nan"), "gives the score nan"),
        (float("inf"), "gives the score inf"),
        (None, "raises TypeError"),
        ("high", "raises ValueError"),
    ],
)
def test_what_is_no_score_is_an_error(noisy: type[Noisy], score: object, message: str) -> None:
    noisy.score = score
    with pytest.raises(LibraryError, match=message):
        entry_of("noisy", DialSetting(levels=(), seed=1)).score("1")


def test_an_entry_that_cannot_be_copied_is_not_scored(noisy: type[Noisy]) -> None:
    made = entry_of("noisy", DialSetting(levels=(), seed=1))
    with pytest.raises(LibraryError, match="cannot pickle"):
        replace(made, fields={"question": "?", "lock": threading.Lock()}).score("1")
