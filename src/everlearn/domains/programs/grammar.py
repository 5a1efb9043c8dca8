"""Read statements and answers: one signature and words, as one line; the source of a program.

    def clamp(x, low, high): return x limited to the range from low to high

The signature may stand anywhere in the text, with or without annotations. Words are free, within limits.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from everlearn.errors import GrammarError

LONGEST = 2000
"""Characters of a statement."""
LONGEST_SOURCE = 8000
"""Characters of a program."""
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,39}"
_SIGNATURE = re.compile(rf"\bdef ({_NAME}) ?\(([^()]{{0,200}})\)( ?-> ?[^:()]{{1,60}}(?=:))?:?")
_FENCE = re.compile(r"```(?:python|py)?")
_BLOCK = re.compile(r"```[A-Za-z0-9]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A function to be written: its name, its parameters as written, what follows these, and what it has to do."""

    name: str
    parameters: str
    returns: str = ""
    words: str

    @property
    def signature(self) -> str:
        """The signature, such as `f(xs)`."""
        return f"{self.name}({self.parameters}){self.returns}"

    def __str__(self) -> str:
        return f"def {self.signature}: {self.words}"


def read_task(text: str) -> Task:
    """Return the task of a statement.

    Raises:
        GrammarError: it has not one signature, no words, or characters that are not printed.
    """
    if len(text) > 4 * LONGEST:
        raise GrammarError(f"the statement has {len(text)} characters: at most {LONGEST} are accepted")
    line = " ".join(_FENCE.sub(" ", text).split())
    if not line.isprintable() or len(line) > LONGEST:
        raise GrammarError(f"a statement has at most {LONGEST} printable characters")
    found = list(_SIGNATURE.finditer(line))
    if len(found) != 1:
        raise GrammarError(
            f"a statement has one signature, as in `def double(x): return twice x`; there are {len(found)}"
        )
    name, parameters, returns = found[0].groups(default="")
    if keyword.iskeyword(name) or name.startswith("__"):
        raise GrammarError(f"{name!r} is no name of a function")
    words = f"{line[: found[0].start()].strip()} {line[found[0].end() :].strip()}".strip()
    task = Task(
        name=name,
        parameters=" ".join(parameters.split()),
        returns=f" -> {returns.strip(' ->')}" if returns else "",
        words=words,
    )
    if not re.search(r"[^\W\d_]{2}", words) or len(str(task)) > LONGEST:
        raise GrammarError(f"a statement says what the function does, in at most {LONGEST} characters")
    return task


def read_source(answer: str, *, name: str) -> str:
    """Return the program in an answer: its last fenced block that defines the function, its last one, or all of it.

    Raises:
        GrammarError: there is none that could define the function.
    """
    if len(answer) > 4 * LONGEST_SOURCE:
        raise GrammarError(f"the answer has {len(answer)} characters: at most {LONGEST_SOURCE} are read")
    blocks = _BLOCK.findall(answer)
    defining = [block for block in blocks if re.search(rf"\b(?:def {name}|{name} ?=)", block)]
    source: str = [answer, *blocks, *defining][-1]
    if len(source) > LONGEST_SOURCE:
        raise GrammarError(f"the program has {len(source)} characters: at most {LONGEST_SOURCE} are read")
    if not re.search(rf"\b{name}\b", source):
        raise GrammarError(f"the answer does not define {name}")
    try:
        source.encode()
    except UnicodeEncodeError:
        raise GrammarError("the answer has characters that are no text") from None
    return source.strip("\n")
