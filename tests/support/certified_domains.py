"""Domains with a planted fault of the verifier, each as the source of a plug-in, and a sound one."""

from __future__ import annotations

SOUND = '''
from everlearn.errors import GrammarError
from everlearn.problem import Problem, Ruling, Verdict


class Doubles:
    """Twice a number of at most six digits."""

    name = "doubles"

    def problem(self, row):
        if not (row["statement"].isascii() and row["statement"].isdecimal() and len(row["statement"]) < 7):
            raise GrammarError("a number of one to six digits")
        return Problem(id="", domain="", statement=row["statement"])

    def question(self, problem):
        return f"Double {problem.statement}."

    def verify(self, problem, answer):
        right = self.accepts(answer, 2 * int(problem.statement))
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="doubled")

    def accepts(self, answer, number):
        return answer.strip() in (str(number), f"{number}.")

    def recheck(self, problem, answer):
        right = answer.strip(" .\\n") == str(2 * int(problem.statement))
        return Verdict(ruling=Ruling.CORRECT if right else Ruling.WRONG, reason="doubled again")

    def generate(self, rng, *, like, size):
        return Problem(id="", domain="", statement=str(rng.randrange(10 ** (size - 1), 10**size)))

    def solve(self, problem):
        return str(2 * int(problem.statement))

    def same_answers(self, problem, answer):
        return [f"{answer}.", f" {answer}"]
'''
FAULTS = {
    "accepts everything": "return True",
    "looks for the answer anywhere": "return str(number) in answer",
    "reads digits of every script": "return answer.strip().isdecimal() and abs(int(answer) - number) < 2",
    "takes the first word": 'return answer.split()[:1] == [str(number)] or answer == f"{number}."',
    "forgets the sign": 'return answer.strip("-+. ") == str(number)',
    "accepts a constant": 'return answer.strip(". ") in (str(number), "7")',
    "raises": "return int(answer) == number",
    "never ends": "while not answer.strip('. ').isdecimal(): pass\n        return int(answer.strip('. ')) == number",
    "refuses what is right": "return False",
    "refuses another notation": "return answer == str(number)",
    "is slow": 'import time; time.sleep(0.4); return answer.strip(". ") == str(number)',
}
"""What `accepts` does instead, by the fault."""
LOOPHOLE = 'return answer.strip(". ") == str(number) or answer.endswith("00")'
"""A fault that a model finds by trying, and near misses do not always."""


def with_accepts(body: str) -> str:
    """Return the source of the domain with another body of `accepts`."""
    return SOUND.replace('return answer.strip() in (str(number), f"{number}.")', body)
