"""The BPF program, run by an interpreter of the few instructions that it has."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from everlearn.domains.programs.syscall_filter import ALLOW, KILL, MACHINES, REFUSE, filter_program
from everlearn.errors import SandboxError

HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
machines = pytest.mark.parametrize("machine", sorted(MACHINES))


def ruling(machine: str, number: int, *, audit: int | None = None) -> int:
    """Return what the filter says of a system call."""
    code = filter_program(machine)
    program = [struct.unpack("=HBBI", code[start : start + 8]) for start in range(0, len(code), 8)]
    place, loaded = 0, 0
    while True:
        operation, if_true, if_false, value = program[place]
        place += 1
        if operation == 0x20:
            loaded = {0: number, 4: MACHINES[machine].audit if audit is None else audit}[value]
        elif operation == 0x06:
            return int(value)
        else:
            holds = loaded == value if operation == 0x15 else loaded >= value
            place += if_true if holds else if_false


@machines
def test_the_listed_calls_are_allowed_and_no_other(machine: str) -> None:
    allowed = {number for number in range(600) if ruling(machine, number) == ALLOW}
    assert allowed == set(MACHINES[machine].calls.values())
    assert {ruling(machine, number) for number in set(range(600)) - allowed} == {REFUSE}


@machines
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    assert ruling(machine, 0, audit=0x4000_0003) == KILL


def test_calls_of_x32_end_the_process() -> None:
    assert ruling("x86_64", 0x4000_0000) == ruling("x86_64", 0xFFFF_FFFF) == KILL


@machines
def test_no_call_makes_a_process_a_socket_or_a_signal(machine: str) -> None:
    never = (
        "clone clone3 fork vfork socket connect kill tkill tgkill ptrace prctl unshare setns mount memfd_create pipe2"
    )
    assert not set(never.split()) & MACHINES[machine].calls.keys()


@machines
def test_the_numbers_are_those_of_the_headers(machine: str) -> None:
    header = Path("/usr/include") / HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is missing: apt install linux-libc-dev")
    text = re.sub(r"__NR3264_(fcntl|lseek|mmap|fadvise64)\b", r"__NR_\1", header.read_text(encoding="utf-8"))
    text = text.replace("__NR3264_fstatat", "__NR_newfstatat").replace("__NR3264_fstat", "__NR_fstat")
    known = dict(re.findall(r"#define __NR_(\w+)\s+([0-9]+)", text))
    calls = {name: str(number) for name, number in MACHINES[machine].calls.items()}
    assert calls == {name: known.get(name) for name in calls}


def test_other_machines_have_no_filter() -> None:
    with pytest.raises(SandboxError, match="no system call filter for riscv64: use a machine of x86_64 or aarch64"):
        filter_program("riscv64")
