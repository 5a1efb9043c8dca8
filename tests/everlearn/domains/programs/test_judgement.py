"""Attacks on the verdict: an answer earns it by its results only."""

from __future__ import annotations

from typing import Any

import pytest

from everlearn.domains.programs import judgement, sandbox
from everlearn.domains.programs.hidden_tests import Case
from everlearn.domains.programs.judgement import judge, judge_apart
from everlearn.domains.programs.sandbox import ProgramRun, RunEnd

CASES = [Case(arguments=[[1, 2]], result=987654321), Case(arguments=[[3]], result=55), Case(arguments=[[]], result=7)]
WRITE = "import os, sys\nwrite = lambda text: os.write(int(sys.argv[1]), text)\n"
FORGED = 'b\'["results",["v","i1"],["v","i2"],["v","i3"]]\''


@pytest.mark.parametrize(
    "source",
    [
        # finds no expected result, since none is there
        "import gc, sys\ndef f(x):\n    seen = repr(gc.get_objects()) + repr(sys._getframe(1).f_locals)\n    return 987654321 if '987654321'[:5] + '4321' in seen else 0",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame.f_back: frame = frame.f_back\n    return frame.f_globals.get('expected', 0)",
        # writes results of its own
        f"{WRITE}write({FORGED})\nos._exit(0)\nf = 1",
        f"{WRITE}def f(x):\n    write({FORGED})\n    os._exit(0)",
        f"{WRITE}def f(x):\n    write({FORGED})\n    return 1",
        f"{WRITE}write(b'R')\nwrite(b'[\"results\"]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'CORRECT')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[' * 100000)\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"results\",' + b'[\"v\",\"i1\"],' * 5000 + b'[\"v\",\"i1\"]]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"results\",1,2,3]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"results\",[\"v\"],[\"v\"],[\"v\"]]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"results\",[\"ok\",\"n\"],[\"ok\",\"n\"],[\"ok\",\"n\"]]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"syntax\",\"q\"]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[[]]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[\"other\"]')\nos._exit(0)\nf = 1",
        f"{WRITE}write(b'[]')\nos._exit(0)\nf = 1",
        # ends early, with success
        "import os\nos._exit(0)\nf = 1",
        "import sys\ndef f(x): sys.exit(0)",
        "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit(0)",
        # equals everything
        "class E(int):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x): return E(7)",
        "import builtins\nbuiltins.len = lambda x: 1\nbuiltins.type = lambda x: int\ndef f(x): return 1",
        "import __main__\n__main__.encode = lambda v: '\"i7\"'\ndef f(x): return 1",
        "import __main__\n__main__.results_of = None\n__main__.READY = b''\ndef f(x): return True",
        "import sys\nsys.modules['marshal'] = None\ndef f(x): return 7",
        # changes what it was given
        "def f(x):\n    x.append(1)\n    return len(x)",
        "def f(x): return globals()",
        "def f(x): return f",
    ],
)  # fmt: skip
def test_no_trick_is_right(source: str) -> None:
    assert judge(source, "f", CASES).ruling == "WRONG"


def test_output_without_end_is_wrong() -> None:
    source = f"{WRITE}def f(x):\n    while True: write(b'x' * 60000)"
    verdict = judge(source, "f", CASES)
    assert (verdict.ruling, verdict.reason) == ("WRONG", "the program writes more than 1024 KiB")


@pytest.mark.parametrize(
    ("source", "ruling", "reason"),
    [
        ("def f(x): return {2: 987654321, 1: 55, 0: 7}[len(x)]", "CORRECT", "3 results are right"),
        ("def f(x): return 987654321 if x else 8", "WRONG", "test 2 of 3: another result"),
        ("def f(x): return x[0]", "WRONG", "test 1 of 3: another result"),
        ("def f(x): return 987654321 / 0", "WRONG", "test 1 of 3: the function raises an exception (ZeroDivisionError)"),
        ("def f(): return 1", "WRONG", "test 1 of 3: the function raises an exception (TypeError)"),
        ("def f(x): return b''", "WRONG", "test 1 of 3: the result cannot be compared (bytes)"),
        ("class é(Exception): pass\ndef f(x): raise é", "WRONG", "test 1 of 3: the function raises an exception"),
        ("import everlearn_of_nobody\ndef f(x): return 1", "WRONG", "the program fails before the function is called (ModuleNotFoundError)"),
        ("def f(x) return 1", "UNREADABLE", "the answer is no Python (SyntaxError)"),
        ("def g(f): return 1", "UNREADABLE", "the answer does not define the function"),
        ("import os\nos._exit(1)\nf = 1", "WRONG", "the program ended without results"),
    ],
)  # fmt: skip
def test_each_program_has_one_ruling(source: str, ruling: str, reason: str) -> None:
    verdict = judge(source, "f", CASES)
    assert (verdict.ruling, verdict.reason) == (ruling, reason)


@pytest.mark.parametrize(
    ("end", "ruling"),
    [
        ("CPU", "WRONG"),
        ("DIED", "WRONG"),
        ("OUTPUT", "WRONG"),
        ("WALL", "UNDECIDED"),
        ("KILLED", "UNDECIDED"),
        ("NOT_STARTED", "UNDECIDED"),
    ],
)
def test_what_this_machine_caused_is_undecided(end: str, ruling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_calls(*_: Any, **__: Any) -> ProgramRun:
        return ProgramRun(end=RunEnd[end])

    monkeypatch.setattr(judgement, "run_calls", run_calls)
    assert judge("f = 1", "f", CASES).ruling == ruling


def test_each_call_gets_its_own_arguments() -> None:
    cases = [Case(arguments=[[1]], result=number) for number in (2, 2, 2)]
    assert judge("def f(x, seen=[]):\n    x.append(0)\n    return len(x)", "f", cases).is_correct


def test_a_program_that_counts_calls_is_found_in_other_processes() -> None:
    source = "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n"
    cases = [Case(arguments=[number], result=number) for number in (1, 2, 3)]
    assert judge(source, "f", cases).is_correct
    assert judge_apart(source, "f", [cases[::2], cases[1::2]], hash_seed=1).ruling == "WRONG"
    right = judge_apart("def f(x): return x", "f", [cases[::2], cases[1::2]], hash_seed=1)
    assert (right.ruling, right.reason) == ("CORRECT", "3 results are right, in 2 processes")


def test_a_program_that_depends_on_the_order_of_a_set_is_found() -> None:
    cases = [Case(arguments=[text], result=text[0]) for text in ("ab", "cd", "ef", "gh", "ij", "kl")]
    rulings = {judge("def f(x): return list(set(x))[0]", "f", cases, hash_seed=seed).ruling for seed in range(3)}
    assert rulings == {"WRONG"}
    assert sandbox.run_calls("def f(x): return list(set(x))", "f", [["ab"]]) == sandbox.run_calls(
        "def f(x): return list(set(x))", "f", [["ab"]]
    )
