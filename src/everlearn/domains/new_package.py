"""Write the package of a new domain: a class that works, its entry point, rows enough for a certificate, and tests that keep the contract."""

from __future__ import annotations

import re
from string import Template
from typing import TYPE_CHECKING

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "everlearn-$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["everlearn"]

[project.entry-points."everlearn.domains"]
$name = "${name}_domain:$cls"

[tool.setuptools]
py-modules = ["${name}_domain"]
"""
MODULE = '''"""The domain `$name`: questions with a short answer, which is compared with a hidden reference.

This works as it is. Change what a statement may be, how it is asked, and how an answer is judged. docs/domains.md of
Everlearn lists the optional members, and what a domain without them cannot do.
"""

from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict

LONGEST = 500


class $cls:
    name = "$name"
    takes_references = True  # answers in new rows are references: hidden, and what `verify` judges by

    def problem(self, row):
        statement = " ".join(row["statement"].split())
        if not statement.isprintable() or not 0 < len(statement) <= LONGEST:
            raise GrammarError(f"a question has 1 to {LONGEST} printable characters")
        if not any(letter.isalpha() for letter in statement):
            raise GrammarError("a question has words")
        return Problem(id="", domain=self.name, statement=statement, reference=row.get("reference"))

    def question(self, problem):
        return f"{problem.statement}\\nAnswer in as few words as possible."

    def verify(self, problem, answer):
        if not problem.reference:
            return Verdict(ruling=Ruling.UNDECIDED, reason="the answer is not known")
        if not answer.strip():
            return Verdict(ruling=Ruling.UNREADABLE, reason="there is no answer")
        right = plain(answer) == plain(problem.reference)
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="compared with the reference")


def plain(text):
    """Return what does not matter left out: case, spaces, a full stop at the end."""
    return " ".join(text.lower().removesuffix(".").split())
'''
ROWS = """{"problem": "What is the capital of France?", "reference": "Paris", "answer": "Paris."}
{"problem": "Which planet is closest to the sun?", "reference": "Mercury", "answer": "mercury"}
{"problem": "How many legs has a spider?", "reference": "8", "answer": "8"}
{"problem": "What is the capital of Japan?", "reference": "Tokyo"}
{"problem": "What is the capital of Kenya?", "reference": "Nairobi"}
{"problem": "What is the capital of Peru?", "reference": "Lima"}
{"problem": "What is the capital of Norway?", "reference": "Oslo"}
{"problem": "What is the capital of Egypt?", "reference": "Cairo"}
{"problem": "What is the capital of Canada?", "reference": "Ottawa"}
{"problem": "What is the capital of Cuba?", "reference": "Havana"}
{"problem": "Which planet has the largest rings?", "reference": "Saturn"}
{"problem": "Which planet is the largest?", "reference": "Jupiter"}
{"problem": "How many sides has a hexagon?", "reference": "6"}
{"problem": "How many days has a leap year?", "reference": "366"}
{"problem": "How many strings has a violin?", "reference": "4"}
{"problem": "How many minutes has an hour?", "reference": "60"}
{"problem": "Which gas do plants take from the air?", "reference": "carbon dioxide"}
{"problem": "Which metal is liquid at room temperature?", "reference": "quicksilver"}
{"problem": "Which animal is the largest?", "reference": "the blue whale"}
{"problem": "Which ocean is the largest?", "reference": "the Pacific"}
{"problem": "Who wrote Hamlet?", "reference": "Shakespeare"}
{"problem": "Who painted the Mona Lisa?", "reference": "Leonardo da Vinci"}
{"problem": "What is frozen water called?", "reference": "ice"}
{"problem": "What is the opposite of north?", "reference": "south"}
"""
TESTS = """from pathlib import Path

import pytest
from everlearn.domains.contract import load_domain
from everlearn.domains.contract_laws import check_domain, read_samples

DOMAIN = load_domain("$name")
SAMPLES = read_samples(DOMAIN, Path(__file__).parents[1] / "problems.jsonl")


def test_the_contract_is_kept():
    assert check_domain(DOMAIN, SAMPLES, entry="$name") == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.problem.statement)
def test_a_wrong_answer_is_wrong(sample):
    assert not DOMAIN.verify(sample.problem, f"not {sample.answer}").is_correct
"""
FILES = {
    "pyproject.toml": PROJECT,
    "${name}_domain.py": MODULE,
    "problems.jsonl": ROWS,
    "tests/test_${name}.py": TESTS,
}


def write_package(name: str, folder: Path) -> list[Path]:
    """Write the package of a domain into a new folder and return its files.

    Raises:
        BadInputError: the name is none of a domain, or the folder exists.
    """
    if not NAME.fullmatch(name):
        raise BadInputError(
            f"{name!r} is no name of a domain: use small letters, digits and single underscores, as in long_sums"
        )
    if folder.exists():
        raise BadInputError(f"{folder} exists: name another folder, or remove it")
    words = {"name": name, "cls": "".join(map(str.capitalize, name.split("_")))}
    written = []
    for place, text in FILES.items():
        path = folder / Template(place).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).safe_substitute(words), encoding="utf-8")
        written.append(path)
    return written
