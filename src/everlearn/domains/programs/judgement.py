"""Verdicts on a program: run it in the sandbox on the arguments of its tests, and compare the results outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from everlearn.domains.programs.sandbox import CPU_S, OUTPUT_BYTES, RunEnd, run_calls
from everlearn.domains.programs.values import decode, read_output, same
from everlearn.problem import Ruling, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.programs.hidden_tests import Case
    from everlearn.domains.programs.sandbox import ProgramRun

_ENDS = {
    RunEnd.DIED: "the program ended without results",
    RunEnd.CPU: f"the program takes more than {CPU_S:g} s of CPU time",
    RunEnd.OUTPUT: f"the program writes more than {OUTPUT_BYTES // 1024} KiB",
}
_UNKNOWN_ENDS = {
    RunEnd.WALL: "the program did not end, and did not use its CPU time: it waits, or this machine is too busy",
    RunEnd.KILLED: "the program was killed from outside, as where a machine runs out of memory",
    RunEnd.NOT_STARTED: "the sandbox did not start",
}
_FAULTS = {
    "syntax": (Ruling.UNREADABLE, "the answer is no Python"),
    "missing": (Ruling.UNREADABLE, "the answer does not define the function"),
    "load": (Ruling.WRONG, "the program fails before the function is called"),
}


def judge(source: str, name: str, cases: Sequence[Case], *, hash_seed: int = 0) -> Verdict:
    """Return the verdict on a program by all tests, in one process. It tells no value of a test."""
    run = run_calls(source, name, [case.arguments for case in cases], hash_seed=hash_seed)
    return _verdict(run, cases)


def judge_apart(source: str, name: str, groups: Sequence[Sequence[Case]], *, hash_seed: int) -> Verdict:
    """Return the verdict by groups of tests, each in a process of its own with a hash seed of its own."""
    for number, cases in enumerate(groups):
        verdict = judge(source, name, cases, hash_seed=hash_seed + number)
        if not verdict.is_correct:
            return verdict
    return Verdict(
        ruling=Ruling.CORRECT, reason=f"{sum(map(len, groups))} results are right, in {len(groups)} processes"
    )


def _verdict(run: ProgramRun, cases: Sequence[Case]) -> Verdict:
    if run.end in _UNKNOWN_ENDS:
        return Verdict(ruling=Ruling.UNDECIDED, reason=_UNKNOWN_ENDS[run.end])
    if run.end in _ENDS:
        return Verdict(ruling=Ruling.WRONG, reason=_ENDS[run.end])
    try:
        kind, *results = read_output(run.output)
        if kind in _FAULTS:
            ruling, reason = _FAULTS[kind]
            return Verdict(ruling=ruling, reason=f"{reason}{_told(results)}")
        return _compared(kind, results, cases)
    except (ValueError, TypeError):
        return Verdict(ruling=Ruling.WRONG, reason="the program wrote something else than its results")


def _compared(kind: str, results: Sequence[Any], cases: Sequence[Case]) -> Verdict:
    """Compare all results. Raises ValueError or TypeError if these are none, or too few or many."""
    if kind != "results":
        raise ValueError("no results")
    faults = [_fault(result, case) for result, case in zip(results, cases, strict=True)]
    for number, fault in enumerate(faults, 1):
        if fault:
            return Verdict(ruling=Ruling.WRONG, reason=f"test {number} of {len(cases)}: {fault}")
    return Verdict(ruling=Ruling.CORRECT, reason=f"{len(cases)} results are right")


def _fault(result: Any, case: Case) -> str:
    """Return what is wrong with a result, nothing if it is right. Raises ValueError or TypeError if it is no result."""
    kind, value = result
    match kind:
        case "v":
            return "" if same(case.result, decode(value)) else "another result"
        case "x":
            return f"the function raises an exception{_told([value])}"
        case "u":
            return f"the result cannot be compared{_told([value])}"
    raise ValueError("no result")


def _told(values: Sequence[Any]) -> str:
    """Return the name of a type that the program told, in parentheses; nothing where it looks like anything else."""
    told = decode(values[0]) if values else ""
    return f" ({told})" if isinstance(told, str) and re.fullmatch(r"[A-Za-z_ ]{1,40}", told) else ""
