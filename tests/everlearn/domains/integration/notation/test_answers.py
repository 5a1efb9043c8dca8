from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.canonical import _normal
from everlearn.domains.integration.grammar import ANSWER_NAMES, parse
from everlearn.domains.integration.notation.text_forms import read_answer, strict_answer
from everlearn.errors import GrammarError
from everlearn.problem import Ruling

DOMAIN = load_domain("integration")
READ: list[tuple[str, str]] = [
    ("2x", "2*x"),
    ("x**2", "x^2"),
    ("3x^2+2x", "3*x^2+2*x"),
    ("x²/2 − x⁻¹", "x^2/2-x^(-1)"),
    ("e⁻²ˣ", "e^(-(2*x))"),
    ("½x²", "(1/2)*x^2"),
    ("x^3⁄3", "x^3/3"),
    ("𝑥^2 · ２", "x^2*2"),
    ("2πx", "2*pi*x"),
    ("1,000*x", "1000*x"),
    ("1.5e3*x", "1500*x"),
    ("50%*x", "x/2"),
    ("ln x", "log(x)"),
    ("log|x|", "log(abs(x))"),
    ("x|x|", "x*abs(x)"),
    ("log10(x)", "log(x)/log(10)"),
    ("\\log_{2} x", "log(x)/log(2)"),
    ("sin x cos x", "sin(x)*cos(x)"),
    ("sin 2x", "sin(2*x)"),
    ("sin^2 x", "sin(x)^2"),
    ("sin²(x)", "sin(x)^2"),
    ("tan^{-1} x", "atan(x)"),
    ("sinh⁻¹(x)", "asinh(x)"),
    ("arcosh x", "acosh(x)"),
    ("xsinx", "x*sin(x)"),
    ("ln sin x", "log(sin(x))"),
    ("ln x^2", "log(x^2)"),
    ("ln(x)^2", "log(x)^2"),
    ("\\log{\\left(x \\right)}^{2}", "log(x)^2"),
    ("ArcTan[x/2]", "atan(x/2)"),
    ("np.exp(2x)", "exp(2*x)"),
    ("√x", "sqrt(x)"),
    ("2x√x", "2*x*sqrt(x)"),
    ("√3 x", "sqrt(3)*x"),
    ("∛(x+1)", "(x+1)^(1/3)"),
    ("\\sqrt[4]{x}", "x^(1/4)"),
    ("\\sqrt{\\frac{x}{2}}", "sqrt(x/2)"),
    ("\\sqrt\\frac x2", "sqrt(x/2)"),
    ("√|x|", "sqrt(abs(x))"),
    ("\\frac12x", "1/2*x"),
    ("\\dfrac{1}{2} x^{\\frac{3}{2}}", "1/2*x^(3/2)"),
    ("\\frac1{x}", "1/x"),
    ("\\frac\\pi2", "pi/2"),
    ("\\frac{i}{i}", "i/i"),
    ("\\operatorname{arcsinh}\\left(x\\right)", "asinh(x)"),
    ("\\ln\\left|\\frac{x-1}{x+1}\\right|", "log(abs((x-1)/(x+1)))"),
    ("\\ln\\lvert x\\rvert", "log(abs(x))"),
    ("\\sin{2x}\\,\\mathrm{e}^{x}", "sin(2*x)*e^x"),
    ("e^{ix}", "e^(i*x)"),
    ("e^√x", "e^sqrt(x)"),
    ("e^x sin x", "e^x*sin(x)"),
    ("x^-1/2", "x^(-1)/2"),
    ("e^x/2", "e^x/2"),
    ("1/2 x", "1/2*x"),
    ("(1/2)x", "(1/2)*x"),
    ("1/(x+1) e^x", "1/(x+1)*e^x"),
    ("1/2 \\ln x", "1/2*log(x)"),
    ("sin x / 2", "sin(x)/2"),
    ("ln x*sin x", "log(x)*sin(x)"),
    ("2e^x", "2*e^x"),
    ("e^2sin(x)", "e^2*sin(x)"),
    ("x ln 2", "x*log(2)"),
    ("2ˣ/ln2", "2^x/log(2)"),
    ("acoth x", "acoth(x)"),
    ("ABS(x)", "abs(x)"),
    ("cbrt(x)", "x^(1/3)"),
    ("ln abs(x)", "log(abs(x))"),
]
AMBIGUOUS = [
    *("1/2x", "1/2x^2", "1/2(x+1)", "1/x sin x", "1 / 2 x", "x/2√x", "1/√x x"),
    *("e^2x", "e^-2x", "x^2x", "e^2(x+1)", "e^xx", "e^2 x", "2^3x"),
    *(
        "sin x/2",
        "\\sin x / 2",
        "sin 2*x",
        "sin x(x+1)",
        "sin x x",
        "ln 2 x",
        "sin x^2 x",
        "e^sin x cos x",
        "e^sin x/2",
    ),
    *("|x|x|x|", "|x|(x)|x|", "√2x", "√x^2", "√x(x+1)", "\\sqrt12", "√sin x", "\\sin{x}^2"),
    *("x2", "2 3", "(x+1)2", "2½", "2\\frac{1}{2}x", "sin2(x)", "log2x", "log10 x", "1e3x", "50%x", "sin^22 x"),
    *("ex", "e2", "e(x)", "e sin x", "sin^-2 x", "ln^{-1} x", "exp^2(x)", "sin^x x", "sin^{x} x", "x\nx", "sin\nx"),
]
UNREADABLE = [
    *("\\frac+x", "cbrt +", "\\sqrt[3]", "sin^2", "sin " * 60 + "x", "exp^{-1} x"),
    *(
        "",
        "primitive(x^2)",
        "antiderivative(x^2)",
        "C*x",
        "e^C",
        "ln|Cx|",
        "C*C",
        "x C",
        "x + C_x",
        "x±1",
        "x!",
        "x > 2",
        "2x+",
        "(x",
        "|x",
        "x^",
        "sin",
        "sin +",
        "√",
        "√+",
    ),
    *(
        "x, x",
        "[x^2, x^3]",
        "x^2 and x^3",
        "x^2 or x^3",
        "not x^2",
        "the answer is not x^2",
        "it isn't x^2",
        "x^2; x^3",
    ),
    *(
        "\\boxed{x^2} \\boxed{x^3}",
        "this is not \\boxed{x}",
        "\\boxed{x",
        "\\boxed x",
        "Not so. Answer: x",
        "the derivative is x",
    ),
    *(
        "F'(x) = x^2",
        "d/dx x^2 = 2x",
        "x^3 = x^2",
        "2x = x^2",
        "x ≠ x^2",
        "x =",
        "y",
        "a*x",
        "t^2",
        "X + x",
        "\\foo x",
        "х",
        "x\u202e2",
        "$x$ $x$",
    ),
    *(
        "lg x",
        "\\log_x 2",
        "\\sqrt[x]{x}",
        "\\sqrt[1]{x}",
        "ei(x)",
        "\\frac{x}",
        "\\frac xx1",
        "abs x",
        "<3> x",
        "(x]",
    ),
    *(
        "x" * 8001,
        "x+" * 2500 + "x",
        "(" * 3000,
        "sin " * 3000 + "x",
        "1" * 31,
        "1e31",
        "x^(9^9)",
        "\\frac{" * 900,
        "{" * 4000,
        "|" * 4000,
    ),
]
AROUND = [
    *("{}", "{}.", "$ {} $", "$${}$$", "\\({}\\)", "\\[ {} \\]", "`{}`", "**{}**", '"{}"', "```\n{}\n```", "```latex\n{}\n```", "[{}]"),
    *("{} + C", "{}+c", "{} + K", "{} + C_1", "{}+C1", "C + {}", "{} - C", "{} + const", "{} + const.", "{} + a constant"),
    *("{} + \\text{{constant}}", "{} + C, where C is a constant.", "{} + C (C is an arbitrary constant)", "{} + C, C ∈ ℝ"),
    *("= {}", "F(x) = {}", "y = {} + C", "∫ 2x dx = {} + C", "$\\int 2x\\,dx = {} + C$", "Let F(x) = {}", "∫2x dx = 2∫x dx = {}", "{}\\,", "$F(x)$ = ${}$"),
    *("Answer: {}", "**Answer:** ${}$", "Final answer: \\boxed{{{} + C}}", "The antiderivative is {}", "So the answer is ${} + C$."),
    *("The integral of $2x$ is ${} + C$.", "Let u be it. Answer: {}", "\\boxed{{{}}} and again \\boxed{{{}}}", "an antiderivative: {}"),
    *("2({})/2 + 2C", "({} + C)/1", "-(-{} - C)"),
]  # fmt: skip


def form(text: str) -> object:
    """Return the normal form, which is equal for texts that differ in brackets only."""
    return _normal(parse(text, names=ANSWER_NAMES))


@pytest.mark.parametrize(("usual", "strict"), READ)
def test_usual_notation_is_read_as_mathematicians_do(usual: str, strict: str) -> None:
    assert form(strict_answer(usual)) == form(strict)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_two_readings_are_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        strict_answer(text)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_answer_is_unreadable_and_not_right(text: str) -> None:
    started = time.process_time()
    for problem in ("2*x", "3*x^2", "x^2", "exp(x)"):
        verdict = DOMAIN.verify(DOMAIN.stated(problem), text)
        assert verdict.ruling is Ruling.UNREADABLE, verdict.reason
        assert "cannot be read" in verdict.reason
    assert time.process_time() - started < 2


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(("answer", "ruling"), [("x^2", Ruling.CORRECT), ("x^3", Ruling.WRONG)])
def test_what_stands_around_an_answer_changes_no_verdict(around: str, answer: str, ruling: Ruling) -> None:
    verdict = DOMAIN.verify(DOMAIN.stated("2*x"), around.format(*[answer] * around.count("{}")))

    assert verdict.ruling is ruling, verdict.reason


@pytest.mark.parametrize(
    ("problem", "answer", "ruling"),
    [
        ("1/x", "ln|x| + C", "CORRECT"),
        ("1/x", "log(abs(x))", "CORRECT"),
        ("tan(x)", "-ln|cos x| + C", "CORRECT"),
        ("x", "x|x|/2", "WRONG"),
        ("sqrt(x^2)", "x|x|/2", "CORRECT"),
        ("2*x", "C", "WRONG"),
        ("0", "C", "CORRECT"),
        ("sec(x)", "-2i*atan(e^(ix))", "CORRECT"),
        ("1/(1+x^2)", "i/2 ln((1 - i*x)/(1 + i*x))", "CORRECT"),
        ("1/(1+x^2)", "i ln((1 - i*x)/(1 + i*x))", "WRONG"),
        ("1/sqrt(x)", "2√x", "CORRECT"),
        ("1/log(x)", "li(x)", "UNDECIDED"),
        ("1/log(x)", "Li(x) + C", "UNDECIDED"),
        ("exp(-x^2)", "sqrt(pi)/2 erf(x)", "UNDECIDED"),
    ],
)
def test_answers_are_judged_as_a_mathematician_would(problem: str, answer: str, ruling: str) -> None:
    asked = DOMAIN.stated(problem)

    assert DOMAIN.verify(asked, answer).ruling == ruling
    assert DOMAIN.recheck(asked, answer).ruling == ruling


def test_a_malformed_answer_is_refused_again_for_the_same_reason() -> None:
    faults = []
    for _ in range(2):
        with pytest.raises(GrammarError) as refused:
            read_answer("x^2/(2 + C")
        faults.append(str(refused.value))
    assert faults[0] == faults[1] != ""


@given(st.text(alphabet="x2e+-*/^(){}[]|\\ ,.=$sinlogfractqr√²−C\n", max_size=40))
@settings(max_examples=400)
def test_what_is_read_is_in_the_strict_grammar(text: str) -> None:
    try:
        found = read_answer(text)
    except GrammarError:
        return
    try:
        assert parse(found, names=ANSWER_NAMES)
    except GrammarError as error:
        assert any(word in str(error) for word in ("exponent", "digits", "nested"))  # noqa: PT017


@pytest.mark.parametrize("unit", ["(", "sin ", "\\frac{", "x^", "√", "|", "$", "\\, ", "=", " ", "e^{", "-", ",", "`", "**", "x ", "\\boxed{", "is ", "+ const ", "C is a "])  # fmt: skip
def test_reading_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    for count in (8000 // len(unit), 1_000_000 // len(unit)):
        DOMAIN.verify(DOMAIN.stated("2*x"), unit * count)

    assert time.process_time() - started < 1


def test_the_exact_proof_reads_usual_notation() -> None:
    assert DOMAIN.prove(DOMAIN.stated("2x"), "x² + C").proved
    assert DOMAIN.prove(DOMAIN.stated("2*x"), "x^2").proved
    assert not DOMAIN.prove(DOMAIN.stated("2*x"), "no idea").proved
