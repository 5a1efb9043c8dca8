"""Which integrands are the same problem, and that one key is shared by all writings of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.integration import equivalence as module
from everlearn.domains.integration.canonical import without_factor
from everlearn.domains.integration.equivalence import equivalence
from everlearn.domains.integration.term_sums import FAMILIES, draw_sum, draw_term, split_sum
from everlearn.errors import GrammarError

SEEDS = st.integers(0, 2**32)

SAME = {
    "a factor": ("4*x + 6", "-pi*(2*x + 3)"),
    "a factor taken out": ("6*x^2*sin(x) + 9*x^2", "3*x^2*(2*sin(x) + 3)"),
    "an expanded product": ("(x + 1)^3", "x^3 + 3*x^2 + 3*x + 1"),
    "an expanded product with cancellation": ("(x-1)^8", "x^8-8*x^7+28*x^6-56*x^5+70*x^4-56*x^3+28*x^2-8*x+1"),
    "a zero added": ("sin(x) + 0", "sin(x)"),
    "a zero in disguise": ("x + sin(x)^2 + cos(x)^2 - 1", "x"),
    "Pythagoras": ("sin(x)^2", "1 - cos(x)^2"),
    "a double angle": ("sin(2*x)", "sin(x)*cos(x)"),
    "a quotient of functions": ("tan(3*x)", "sin(3*x)/cos(3*x)"),
    "a hyperbolic function": ("sinh(x)", "exp(x) - exp(-x)"),
    "an inverse hyperbolic function": ("acosh(x)", "log(x + sqrt(x^2 - 1))"),
    "complementary angles": ("acos(x)", "pi/2 - asin(x)"),
    "half the logarithm of a square": ("log(x^2)/2", "log(x)"),
    "the logarithm of a magnitude": ("log(abs(x))", "log(x)"),
    "the root of a square": ("sqrt(x^2)*exp(x)", "x*exp(x)"),
    "partial fractions": ("1/(x^2 - 1)", "1/(x - 1) - 1/(x + 1)"),
    "a base of a power": ("2^x", "exp(x*log(2))"),
    "roots on a part of the axis": ("sqrt(1 - 4*x^2)", "sqrt(1 - 2*x)*sqrt(1 + 2*x)"),
    "values beyond double precision": ("exp(1000*x)", "exp(500*x)^2"),
    "a power that overflows": ("x^1000/x^999", "x"),
    "real nowhere": ("sqrt(-1 - x^2)", "3*sqrt(-1 - x^2)"),
    "constants": ("5", "pi^2"),
    "zero": ("sin(x)^2 + cos(x)^2 - 1", "0"),
    "undefined everywhere": ("2/(x - x)", "3/(x - x)"),
}
OTHER = {
    "a constant added": ("sin(x) + 5", "sin(x)"),
    "a shift": ("sin(x + 1)", "sin(x)"),
    "a stretch": ("sin(2*x)", "sin(x)"),
    "a reflection": ("exp(-x)", "exp(x)"),
    "a reflection of a sum": ("x^2 + x", "x^2 - x"),
    "a term more": ("x^2 + x", "x^2"),
    "a coefficient": ("x^2 + 2*x", "x^2 + 3*x"),
    "a small term beside a large one": ("exp(5*x) + x", "exp(5*x) + 2*x"),
    "the other half of the axis": ("log(-x)", "log(x)"),
    "beyond the sampled domain": ("sqrt(x - 100)", "sqrt(100 - x)"),
    "zero": ("0", "1"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_proportional_functions_are_the_same_problem(one: str, other: str) -> None:
    assert equivalence(one) == equivalence(other)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_functions_that_are_not_proportional_are_other_problems(one: str, other: str) -> None:
    assert equivalence(one) != equivalence(other)


def rewrite(rng: random.Random, term: str) -> str:
    """Return the term in other words, equal to it on the positive axis."""
    k = rng.randint(2, 9)
    ways = [
        f"{k}*({term})/{k}",
        f"({term})*(sin({k}*x)^2 + cos({k}*x)^2)",
        f"({term} + {k}) - {k}",
        f"(x + {k})*({term})/(x + {k})",
        f"exp(log({k}))*({term})/{k}",
        f"({term})*exp({k}*x)*exp(-{k}*x)",
        f"({term})*(x^2 - {k * k})/((x - {k})*(x + {k}))",
        f"({term})*sqrt(x^2)/x",
        f"({term}) + log(x^{k}) - {k}*log(x)",
        term.replace("sin(x)", "2*sin(x/2)*cos(x/2)").replace("log(x)", "log(x^2)/2"),
    ]
    return rng.choice(ways)


def rewritten(rng: random.Random, statement: str, *, depth: int) -> str:
    """Return the sum in other words: shuffled, scaled, each term rewritten."""
    terms = [f"{term.sign}({rewrite(rng, term.body)})" for term in split_sum(statement)]
    rng.shuffle(terms)
    text = f"{rng.randint(2, 99)}*({''.join(terms)})"
    return rewritten(rng, text, depth=depth - 1) if depth else text


@settings(max_examples=400)
@given(SEEDS, st.integers(1, 8), st.integers(0, 2))
def test_every_rewriting_keeps_the_key(seed: int, size: int, depth: int) -> None:
    rng = random.Random(seed)
    statement = draw_sum(rng, size=size)
    assert equivalence(rewritten(rng, statement, depth=depth)) == equivalence(statement)


@pytest.mark.slow
def test_no_rewriting_of_thousands_falls_into_another_cell() -> None:
    """Equal functions could be separated at the border of a cell; the bounds of their errors prevent it."""
    rng = random.Random(1)
    pairs = [(text, rewritten(rng, text, depth=0)) for text in (draw_sum(rng, size=n % 7 + 1) for n in range(5000))]
    assert [pair for pair in pairs if equivalence(pair[0]) != equivalence(pair[1])] == []


@given(SEEDS)
def test_double_precision_and_fifty_digits_give_one_key(seed: int) -> None:
    rng = random.Random(seed)
    text = f"({draw_term(rng)[0].body})*({draw_term(rng)[0].body}) - {draw_term(rng)[0].body}"
    fast = module._fast(text)
    assert fast is None or fast == module._precise(without_factor(text))


@given(SEEDS, st.integers(1, 6))
def test_one_structure_is_one_problem(seed: int, size: int) -> None:
    """Keys of earlier releases were the structure: what was equivalent then is equivalent now."""
    rng = random.Random(seed)
    one = draw_sum(rng, size=size)
    terms = [f"{term.sign} ({term.body})" for term in split_sum(one)]
    rng.shuffle(terms)
    other = f"-7*({' '.join(terms)})"
    assert without_factor(one) == without_factor(other)
    assert equivalence(one) == equivalence(other)


def test_no_generated_family_is_swallowed() -> None:
    """As many classes as structures: what the signature merges beyond them is nothing that is generated."""
    for family in FAMILIES:
        rng = random.Random(0)
        texts = [family(rng)[0].body for _ in range(400)]
        assert len(set(map(equivalence, texts))) == len(set(map(without_factor, texts))), family.__name__
    rng = random.Random(0)
    sums = [draw_sum(rng, size=n % 8 + 2) for n in range(800)]
    assert len(set(map(equivalence, sums))) == len(set(map(without_factor, sums))) > 780


LONG_FACTOR = "*".join(["9" * 30] * 12)


@pytest.mark.parametrize(
    "text",
    [
        "x + log(x - x)",
        "x + exp(1000*x)*(sin(x)^2 + cos(x)^2 - 1)",
        f"{LONG_FACTOR}*x + sin(x)",
    ],
    ids=["undefined", "nothing but rounding", "more digits than the grammar reads"],
)
def test_what_cannot_be_evaluated_keeps_its_structure(text: str) -> None:
    assert equivalence(text) == without_factor(text)


def test_text_outside_the_grammar_is_refused() -> None:
    with pytest.raises(GrammarError):
        equivalence("2 apples")
