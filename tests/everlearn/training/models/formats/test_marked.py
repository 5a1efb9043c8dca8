"""The demo notation: what the model is shown can be carried out, and what it makes up is no proposal."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.moves import MOVES
from everlearn.domains.integration.term_sums import split_sum
from everlearn.errors import GrammarError
from everlearn.training.base_model.demonstrations import demonstrate, demonstrate_solution
from everlearn.training.base_model.tokenizer import build_tokenizer
from everlearn.training.engines.decode import Completion
from everlearn.training.models.formats.marked import MarkedFormat
from everlearn.training.models.formats.marked_notation import MARKERS, draw_markers, mark, moved_terms, without_markers

if TYPE_CHECKING:
    from collections.abc import Sequence

ASKED = "DROP <3> + 3*x^2 <7> - 4*sin(2*x) <9> + x ="
seeds = st.integers(0, 2**32)
DOMAIN, TOKENIZER = load_domain("integration"), build_tokenizer()
FORM = MarkedFormat(tokenizer=TOKENIZER, domain=DOMAIN, stops=frozenset({2}))


def completion(text: str, *, finished: bool = True) -> Completion:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids + ([2] if finished else [])
    return Completion(ids=ids, logprobs=[0.0] * len(ids), finished=finished)


def variant(move: str, asked: str, written: str) -> str | None:
    return FORM.read_variant("", move, asked=asked, written=written)


@given(seeds, st.integers(2, 16), st.sampled_from(MOVES))
def test_demonstrated_moves_are_valid(seed: int, size: int, move: str) -> None:
    prompt, written = demonstrate(random.Random(seed), size=size, move=move)
    found = variant(move, prompt, written)
    assert found is not None
    after = len(split_sum(found))
    assert after == size if move == "EASE" else 1 <= after < size


@pytest.mark.parametrize(
    ("move", "written", "expected"),
    [
        ("DROP", "<7>", "3*x^2 + x"),
        ("DROP", "<3><7>", None),
        ("DROP", "<7>+x", None),
        ("DROP", "<8>", None),
        ("DROP", "", None),
        ("HALF", "<3><9>", "3*x^2 + x"),
        ("HALF", "<3>-x", None),
        ("EASE", "<7>+cos(x)", "3*x^2 + cos(x) + x"),
        ("EASE", "<7>", None),
        ("EASE", "<3>+x<7>+x", None),
    ],
)
def test_a_completion_is_applied_or_refused_as_a_whole(move: str, written: str, expected: str | None) -> None:
    assert variant(move, ASKED, written) == expected


def test_dropping_the_only_term_leaves_no_problem() -> None:
    assert moved_terms("DROP", "DROP <3> + x =", "<3>") is None
    assert variant("EASE", "EASE <3> + x =", "<3>+") == ""


@given(seeds, st.integers(1, 16))
def test_markers_do_not_reach_the_verifier(seed: int, size: int) -> None:
    _, written = demonstrate_solution(random.Random(seed), size=size)
    assert "<" not in without_markers(written)
    assert len(split_sum(without_markers(written))) == size


def test_a_prompt_names_its_move_and_ends_with_an_equals_sign() -> None:
    asked = FORM.propose("x + sin(x)", "HALF", rng=random.Random(0))
    assert asked.text.startswith("HALF <")
    assert asked.text.endswith("=")
    assert asked.ids == TOKENIZER(asked.text).input_ids
    assert FORM.prompt(DOMAIN.stated("x"), rng=random.Random(0)).text.startswith("INT <")


@given(seeds, st.integers(1, MARKERS))
def test_markers_increase_and_are_all_different(seed: int, count: int) -> None:
    markers = draw_markers(random.Random(seed), count=count)
    assert markers == sorted(set(markers))
    assert len(markers) == count
    assert all(0 <= marker < MARKERS for marker in markers)


def test_more_terms_than_markers_are_refused() -> None:
    with pytest.raises(GrammarError, match="25 terms"):
        FORM.prompt(DOMAIN.stated(" + ".join(["x"] * (MARKERS + 1))), rng=random.Random(0))


def test_each_term_follows_its_marker() -> None:
    assert mark(DOMAIN.split("3*x - sin(x)"), [2, 5]) == "<2> + 3*x <5> - sin(x)"


@pytest.mark.parametrize(("prompt", "limit"), [([], 16), ([1], 17), ([1] * 10, 31)])
def test_an_answer_may_be_half_as_long_again(prompt: Sequence[int], limit: int) -> None:
    assert FORM.max_tokens(prompt) == limit


def test_a_truncated_answer_is_none() -> None:
    assert FORM.answer(completion("<3>+x^2")) == "+x^2"
    assert FORM.answer(completion("<3>+x^2", finished=False)) == ""
