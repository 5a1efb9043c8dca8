"""The hold-out split depends on the canonical form alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.holdout import is_held_out, split
from everlearn.data.snapshot import Entry


def test_about_the_share_is_held_out() -> None:
    held = sum(is_held_out(f"p{k}", seed=1, share=0.2) for k in range(5000))
    assert 0.18 < held / 5000 < 0.22


@given(st.text(), st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds_held_out_problems(text: str, seed: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert is_held_out(text, seed=seed, share=low) <= is_held_out(text, seed=seed, share=high)
    assert is_held_out(text, seed=seed, share=1)
    assert not is_held_out(text, seed=seed, share=0)


def test_a_held_out_problem_stays_held_out_in_other_company() -> None:
    entries = tuple(
        Entry(canonical=f"{a}*x + {b}*sin(x)", id=f"{a} {b}", domain="integration", statement=f"{a}*x + {b}*sin(x)")
        for a in range(1, 21)
        for b in range(1, 21)
    )
    roots, held_out = split(entries, share=0.2)
    assert len(roots) + len(held_out) == 400
    assert 50 < len(held_out) < 110
    half = {entry.problem for entry in entries[::2]}
    assert split(entries[::2], share=0.2)[1] == tuple(problem for problem in held_out if problem in half)
