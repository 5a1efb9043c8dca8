"""Programs that are wrong by construction, and other spellings of a right one: what the verifier is certified with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlearn.domains.programs.neighbours import neighbours
from everlearn.domains.programs.pipelines import Pipeline, code_of

if TYPE_CHECKING:
    import random

_NEIGHBOURS = 20
_RIGHT = "right_function"
"""The name of the right function inside another program."""
_WRONG_ENDS = (
    "return None",
    "print({call})",
    "raise ValueError",
    "return [{call}]",
    "return ({call},)",
    "return str({call}) + ' '",
    "return {{'result': {call}}}",
    "yield {call}",
    "return lambda: {call}",
    "import sys\n    sys.exit(0)",
    "import os\n    os._exit(0)",
    "return object()",
    "class Equal:\n        def __eq__(self, other):\n            return True\n    return Equal()",
    "class Mine(type({call})):\n        pass\n    return Mine({call})",
)


def wrong_programs(pipeline: Pipeline, *, rng: random.Random) -> list[str]:
    """Return programs that compute something else: another step, one too few, and results of another type or none."""
    near = neighbours(pipeline)
    chosen = rng.sample(near, min(_NEIGHBOURS, len(near)))
    return [*map(code_of, chosen), *wrapped_programs(code_of(pipeline), pipeline.name, count=1)]


def wrapped_programs(source: str, name: str, *, count: int) -> list[str]:
    """Return programs that spoil the results of a right one, a function of `count` parameters."""
    parameters = ", ".join(f"x{number}" for number in range(1, count + 1))
    head = f"{source}\n\n{_RIGHT} = {name}\n\ndef {name}({parameters}):\n    "
    return [f"{head}{end.format(call=f'{_RIGHT}({parameters})')}\n" for end in _WRONG_ENDS]


def same_programs(source: str, name: str) -> list[str]:
    """Return other spellings of a program: fenced, in words, with a helper, as a lambda, as an object."""
    fenced = f"```python\n{source}\n```"
    kept = f"{source}\n\n{_RIGHT} = {name}\n\n"
    return [
        fenced,
        f"```\n{source}\n```",
        f"The function goes step by step.\n\n{fenced}\n\nIt takes linear time.",
        f"```python\nimport math\n```\n\n{fenced}",
        f"{fenced}\n\nFor example:\n\n```python\nprint('done')\n```",
        f"# A comment\n\n{source}\n\nimport math\n",
        f"{kept}{name} = lambda *given: {_RIGHT}(*given)\n",
        f"{kept}def {name}(*given):\n    print('called')\n    return {_RIGHT}(*given)\n",
        f"{kept}class Solution:\n    def __call__(self, *given):\n        return {_RIGHT}(*given)\n\n{name} = Solution()\n",
        f"{source}\n\nif __name__ == '__main__':\n    raise SystemExit\n",
        source.replace("\n", "\r\n"),
    ]
