"""The split of new problems by the class of equal problems."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everlearn.data.holdout import Split, is_held_out, split, split_by_canonical_form
from everlearn.data.snapshot import Entry
from everlearn.data.used_problems import EarlierUse
from everlearn.domains.contract import load_domain
from everlearn.problem import Problem

DOMAIN = load_domain("integration")
NOTHING = EarlierUse()


def entries(*statements: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(canonical=DOMAIN.canonical(text), id=text, domain="integration", statement=text) for text in statements
    )


def sides(parts: Split) -> dict[str, str]:
    """Return the side of each statement."""
    return {problem.statement: side for side in Split.__dataclass_fields__ for problem in getattr(parts, side)}


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
    texts = [f"{a}*x + {b}*sin(x)" for a in range(1, 21) for b in range(1, 21)]
    whole = sides(split(entries(*texts), domain=DOMAIN, share=0.2, earlier=NOTHING))
    assert 40 < sum(side == "held_out" for side in whole.values()) < 120
    half = sides(split(entries(*texts[::2]), domain=DOMAIN, share=0.2, earlier=NOTHING))
    assert half == {text: whole[text] for text in texts[::2]}


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 0.99))
def test_multiples_and_identities_fall_on_one_side(a: int, c: int, share: float) -> None:
    texts = entries(f"sin({2 * a}*x)", f"{c}*sin({2 * a}*x)/7", f"-{c}*sin({a}*x)*cos({a}*x)")
    assert len(set(sides(split(texts, domain=DOMAIN, share=share, earlier=NOTHING)).values())) == 1


def test_earlier_nights_decide_whatever_the_share_is() -> None:
    measured, trained = DOMAIN.equivalence("x^2"), DOMAIN.equivalence("sin(x)")
    earlier = EarlierUse(measured=frozenset({measured}), trained=frozenset({trained}))
    for share in (1e-9, 1 - 1e-9):
        found = sides(split(entries("7*x^2", "3*sin(x)"), domain=DOMAIN, share=share, earlier=earlier))
        assert found == {"7*x^2": "held_out", "3*sin(x)": "roots"}


def test_what_was_measured_and_trained_on_is_left_out() -> None:
    key = frozenset({DOMAIN.equivalence("x^2")})
    earlier = EarlierUse(measured=key, trained=key)
    assert sides(split(entries("2*x^2"), domain=DOMAIN, share=0.5, earlier=earlier)) == {"2*x^2": "left_out"}


def test_problems_that_are_not_fresh_are_left_out_and_counted_apart() -> None:
    key = frozenset({DOMAIN.equivalence("x^2")})
    items = {DOMAIN.equivalence("sin(x)")}
    earlier = EarlierUse(measured=key, not_fresh=key)
    found = split(entries("2*x^2", "sin(x)", "x^3"), domain=DOMAIN, share=0.5, earlier=earlier, items=items)
    assert (sides(found)["2*x^2"], sides(found)["sin(x)"]) == ("not_fresh", "left_out")
    assert found.describe_left_out() == (
        "new problems left out: 1 equal a suite item, or were both measured and trained on; 1 were measured by an earlier night, "
        "with the same parent or with the candidate that tonight begins as, and a test needs fresh ones"
    )
    assert split(entries("x^3"), domain=DOMAIN, share=0.5, earlier=earlier).describe_left_out() is None


def test_equals_of_tonights_suite_items_are_left_out() -> None:
    items = {DOMAIN.equivalence("x^2")}
    found = split(entries("2*x^2"), domain=DOMAIN, share=0.5, earlier=NOTHING, items=items)
    assert sides(found) == {"2*x^2": "left_out"}


def test_the_old_split_is_that_of_the_canonical_form() -> None:
    kept = entries(*(f"{a}*x^3" for a in range(1, 200)))
    parts = split_by_canonical_form(kept, share=0.2)
    assert parts.held_out == tuple(each.problem for each in kept if is_held_out(each.canonical, share=0.2))
    assert len(parts.roots) + len(parts.held_out) == 199
    assert all(isinstance(problem, Problem) for problem in parts.roots)
