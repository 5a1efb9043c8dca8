from __future__ import annotations

import re
from pathlib import Path

import pytest

from everlearn.domains.contract import load_domain
from everlearn.domains.integration.canonical import _normal
from everlearn.domains.integration.grammar import ANSWER_NAMES, parse
from everlearn.domains.integration.notation.text_forms import strict_answer
from everlearn.errors import GrammarError

PAGE = (Path(__file__).parents[5] / "docs/notation.md").read_text(encoding="utf-8").replace("│", "|")


def rows(heading: str) -> list[tuple[str, str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(.+)` \| `?(.+?)`? \|$", section, re.MULTILINE)


def form(text: str) -> object:
    return _normal(parse(text, names=ANSWER_NAMES))


@pytest.mark.parametrize(("written", "strict"), rows("Formulas"))
def test_every_documented_formula_is_read_as_documented(written: str, strict: str) -> None:
    assert form(strict_answer(written)) == form(strict)


@pytest.mark.parametrize(("written", "why"), rows("Two readings"))
def test_every_documented_ambiguity_is_refused(written: str, why: str) -> None:
    with pytest.raises(GrammarError):
        strict_answer(written)
    assert " or " in why


@pytest.mark.parametrize(("written", "strict"), rows("Integrands"))
def test_every_documented_integrand_is_kept_as_documented(written: str, strict: str) -> None:
    assert load_domain("integration").problem(written).statement == strict
