"""The seccomp filter of the sandbox: a list of the system calls that a single-threaded Python program needs.

The filter is a classic BPF program, given to bubblewrap as bytes. Every other system call fails with EPERM: no process,
thread, socket, signal, timer, sleep or new kind of file descriptor. A call by the numbers of another architecture ends the
process. `execve` is among the calls, since bubblewrap starts Python with it after the filter is set.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import NamedTuple

from everlearn.errors import SandboxError


class Machine(NamedTuple):
    """An architecture: its audit number, its system calls, and whether it has the numbers of x32, which are refused."""

    audit: int
    calls: dict[str, int]
    has_x32: bool


# Numbers of asm/unistd_64.h and asm-generic/unistd.h.
_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19,
    "writev": 20, "access": 21, "mremap": 25, "madvise": 28, "dup": 32, "getpid": 39, "execve": 59, "exit": 60, "uname": 63,
    "fcntl": 72, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99,
    "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131,
    "arch_prctl": 158, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217,
    "set_tid_address": 218, "clock_gettime": 228, "clock_getres": 229, "exit_group": 231, "openat": 257, "newfstatat": 262,
    "readlinkat": 267, "faccessat": 269, "set_robust_list": 273, "dup3": 292, "prlimit64": 302, "getrandom": 318,
    "statx": 332, "rseq": 334,
}  # fmt: skip
_AARCH64 = {
    "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61,
    "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "readlinkat": 78, "newfstatat": 79,
    "fstat": 80, "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98, "set_robust_list": 99,
    "clock_gettime": 113, "clock_getres": 114, "sched_getaffinity": 123, "sigaltstack": 132, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "times": 153, "uname": 160, "getrlimit": 163, "getrusage": 165,
    "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
    "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "execve": 221, "mmap": 222, "mprotect": 226,
    "madvise": 233, "prlimit64": 261, "getrandom": 278, "statx": 291, "rseq": 293,
}  # fmt: skip
MACHINES = {
    "x86_64": Machine(audit=0xC000003E, calls=_X86_64, has_x32=True),
    "aarch64": Machine(audit=0xC00000B7, calls=_AARCH64, has_x32=False),
}

KILL, ALLOW = 0x8000_0000, 0x7FFF_0000
REFUSE = 0x0005_0000 | errno.EPERM
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_X32 = 0x4000_0000


def filter_program(machine: str | None = None) -> bytes:
    """Return the BPF program for a machine, by default this one. Raises SandboxError if its calls are not known."""
    name = machine or platform.machine()
    if name not in MACHINES:
        raise SandboxError(
            f"the sandbox of the domain programs has no system call filter for {name}: use a machine of {' or '.join(MACHINES)}"
        )
    audit, calls, has_x32 = MACHINES[name]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if has_x32:
        program += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, KILL)]
    numbers = sorted(set(calls.values()))
    program += [(_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    program += [(_RETURN, 0, 0, REFUSE), (_RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
