"""The program inside the sandbox, here called outside of it with harmless sources."""

from __future__ import annotations

import json
import marshal
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from everlearn.domains.programs import harness
from everlearn.domains.programs.values import decode

if TYPE_CHECKING:
    from pathlib import Path


def results(source: str, *calls: list[Any]) -> Any:
    return json.loads(harness.results_of(source, "f", [marshal.dumps(each) for each in calls]))


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("def f(:", "syntax", "SyntaxError"),
        ("raise SystemExit", "load", "SystemExit"),
        ("1 / 0", "load", "ZeroDivisionError"),
    ],
)
def test_a_program_that_cannot_be_loaded_is_told(source: str, kind: str, told: str) -> None:
    assert (results(source)[0], decode(results(source)[1])) == (kind, told)


@pytest.mark.parametrize("source", ["", "g = 1", "f = 1"])
def test_a_missing_function_is_told(source: str) -> None:
    assert results(source) == ["missing"]


def test_each_call_has_a_result_of_its_own() -> None:
    source = "def f(x):\n    return [1 // x] if x < 5 else object()"
    assert results(source, [1], [0], [9]) == ["results", ["v", ["l", "i1"]], ["x", ["s", ""][0] + b"ZeroDivisionError".hex()], ["u", f"s{b'object'.hex()}"]]  # fmt: skip


def test_a_class_of_data_can_be_made() -> None:
    source = "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\ndef f(x): return P(x).x"
    assert results(source, [3]) == ["results", ["v", "i3"]]


def test_limits_are_lowered_and_never_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = {1: resource.RLIM_INFINITY, 2: 50, 3: 500}
    made = {}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, hard[which]))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: made.update({which: both}))
    harness.set_limits({1: 100, 2: 100, 3: 100})
    assert made == {1: (100, 100), 2: (50, 50), 3: (100, 100)}


def test_results_follow_the_sign_of_readiness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.write_bytes(marshal.dumps([{}, "def f(x): return x", "f", [marshal.dumps([1])]]))
    reading, writing = os.pipe()
    with task.open() as given, os.fdopen(reading, "rb") as channel:
        monkeypatch.setattr(sys, "stdin", given)
        harness.main(writing)
        os.close(writing)
        assert channel.read() == b'R["results",["v","i1"]]'


def test_the_harness_imports_nothing_of_the_project() -> None:
    code = f"import sys; sys.argv = ['', '1']; exec(open({harness.__file__!r}).read(), {{'__name__': 'x'}}); print('json' in sys.modules)"
    done = subprocess.run([sys.executable, "-s", "-S", "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
