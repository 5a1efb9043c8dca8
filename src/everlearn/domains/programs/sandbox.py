"""Run an answer in a sandbox: bubblewrap's namespaces, a seccomp filter, resource limits, and a reader outside.

The process sees the interpreter, the standard library and the C libraries, read-only, and nothing else: no network, no
/proc, no home, no environment, nothing that can be written. It has no expected result. Its CPU time is watched from
outside, so that an endless answer costs `CPU_S`; where the machine is too busy to give it that in `WALL_S`, nothing is decided.

The hash seed is set, so that a program over a set of texts has the same result each time. That excludes Python's options
-E and -I, which would ignore it: the environment holds this one variable, and -s, -S and -P do the rest.
"""

from __future__ import annotations

import fcntl
import functools
import marshal
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from everlearn.domains.programs import harness
from everlearn.domains.programs.syscall_filter import filter_program
from everlearn.domains.verifier_process import cpu_seconds_of
from everlearn.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

CPU_S = 0.5
"""CPU time of one run, the start of Python included."""
WALL_S = 8.0
"""Wall-clock time of one run: less than a verifier's worker may take."""
MEMORY_BYTES = 256 * 1024**2
OUTPUT_BYTES = 1024**2
_LIMITS = {
    resource.RLIMIT_AS: MEMORY_BYTES,
    resource.RLIMIT_CPU: 1,  # whole seconds: only where this process is stopped meanwhile
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_STACK: 8 * 1024**2,
    resource.RLIMIT_NOFILE: 32,
}
_POLL_MS = 20
_CHILD = re.compile(rb'"child-pid": ([0-9]+)')
_KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
_REMEDY = "install it (`apt install bubblewrap`)"
_NAMESPACES = (
    "allow user namespaces: `sysctl -w kernel.unprivileged_userns_clone=1` on Debian, "
    "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu; in a container, `--security-opt seccomp=unconfined`"
)


class RunEnd(StrEnum):
    """How a run came to its end."""

    FINISHED = "finished"
    DIED = "died"
    CPU = "CPU time"
    OUTPUT = "output"
    WALL = "wall-clock time"
    KILLED = "killed"
    NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """What came of a run. `output` is untrusted; `fault` is what bubblewrap said, where it was asked to."""

    end: RunEnd
    output: bytes = b""
    fault: str = ""


def run_calls(source: str, name: str, calls: Sequence[Sequence[Any]], *, hash_seed: int = 0) -> ProgramRun:
    """Call the function `name` of a program with each of the arguments, all in one process."""
    return _run([source, name, [marshal.dumps(list(each)) for each in calls]], hash_seed=hash_seed)


@functools.cache
def require_sandbox() -> None:
    """Run a program in the sandbox, once a process. Raises SandboxError with the remedy if that is not possible."""
    ended = _run(["def f(x): return x + 1", "f", [marshal.dumps([1])]], hash_seed=0, show_faults=True)
    if ended.output != b'["results",["v","i2"]]':
        raise SandboxError(
            f"the domain programs runs answers in a sandbox only, and bwrap cannot make one here "
            f"({ended.fault or ended.end}): {_NAMESPACES}"
        )


def _run(task: list[Any], *, hash_seed: int, show_faults: bool = False) -> ProgramRun:
    command = sandbox_command(hash_seed)
    try:
        return _run_command(command, task, show_faults=show_faults)
    except OSError as error:  # no memory, processes or file descriptors are left
        return ProgramRun(end=RunEnd.NOT_STARTED, fault=str(error))


def _run_command(command: Sequence[str], task: list[Any], *, show_faults: bool) -> ProgramRun:
    with ExitStack() as files:
        given, rules = (
            files.enter_context(_sealed(each)) for each in (marshal.dumps([_LIMITS, *task]), filter_program())
        )
        info, their_info = map(files.enter_context, _pipe())
        results, theirs = map(files.enter_context, _pipe())
        process = subprocess.Popen(
            [
                *(command[0], "--seccomp", str(rules.fileno()), "--info-fd", str(their_info.fileno())),
                *(*command[1:], str(theirs.fileno())),
            ],
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if show_faults else subprocess.DEVNULL,
            pass_fds=[each.fileno() for each in (rules, their_info, theirs)],
            env={},
        )
        for each in (given, rules, their_info, theirs):
            each.close()
        ended = files.enter_context(os.fdopen(os.pidfd_open(process.pid), "rb", buffering=0))
        try:
            end, output = _read(results, info, ended, deadline=time.monotonic() + WALL_S)
        finally:
            os.kill(process.pid, signal.SIGKILL)  # not yet waited for, so that the number is still its own
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        fault = ""
        if process.stderr:
            with process.stderr:
                fault = process.stderr.read(2000).decode(errors="replace").strip()
    if end is RunEnd.FINISHED:
        end = _end(output, process.returncode, cpu=usage.ru_utime + usage.ru_stime)
    return ProgramRun(end=end, output=output.removeprefix(harness.READY), fault=fault)


def _read(results: BinaryIO, info: BinaryIO, ended: BinaryIO, *, deadline: float) -> tuple[RunEnd, bytes]:
    """Read what the process writes until it has ended or exceeds a limit. `info` tells its process ID, for the CPU time."""
    poller = select.poll()
    waiting = {each.fileno(): each for each in (results, info, ended)}
    for number in waiting:
        poller.register(number, select.POLLIN)
    output, told, pid = bytearray(), b"", None
    while {results.fileno(), ended.fileno()} & waiting.keys():
        for number, _ in poller.poll(_POLL_MS):
            chunk = b"" if number == ended.fileno() else os.read(number, 65536)
            if number == info.fileno():
                told += chunk
                found = _CHILD.search(told)
                pid, chunk = (int(found[1]), b"") if found else (pid, chunk)
            else:
                output += chunk
            if not chunk:
                poller.unregister(number)
                del waiting[number]
        if len(output) > OUTPUT_BYTES:
            return RunEnd.OUTPUT, b""
        if pid is not None and cpu_seconds_of(pid) > CPU_S:
            return RunEnd.CPU, b""
        if time.monotonic() > deadline:
            return RunEnd.WALL, b""
    return RunEnd.FINISHED, bytes(output)


def _end(output: bytes, code: int, *, cpu: float) -> RunEnd:
    """Return how a process ended by itself, or by a limit that the kernel enforces."""
    if not output:
        return RunEnd.NOT_STARTED
    if cpu > CPU_S:
        return RunEnd.CPU
    if code in _KILLED:
        return RunEnd.KILLED
    return RunEnd.DIED if code else RunEnd.FINISHED


def _sealed(content: bytes) -> BinaryIO:
    """Return a file in memory that holds the bytes and can never be written again."""
    file = os.fdopen(os.memfd_create("everlearn", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    fcntl.fcntl(
        file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    )
    return file


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0)


def sandbox_command(hash_seed: int) -> list[str]:
    """Return the command that runs the harness; the number of its channel is added. Raises SandboxError without bwrap."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(f"the domain programs runs answers in a sandbox, and bwrap is missing: {_REMEDY}")
    return [bwrap, "--setenv", "PYTHONHASHSEED", str(hash_seed), *_arguments()]


@functools.cache
def _arguments() -> tuple[str, ...]:
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not python.exists():
        raise SandboxError(f"the domain programs needs the Python interpreter {python}, which is missing")
    base = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), sys.base_prefix)
    libraries = {Path(sysconfig.get_path(name, vars=base)) for name in ("stdlib", "platstdlib")}
    shared = Path(sys.base_prefix) / "lib" / str(sysconfig.get_config_var("INSTSONAME"))
    system = [f"{place}/{sysconfig.get_config_var('MULTIARCH')}" for place in ("/lib", "/usr/lib")]
    seen = [python, *sorted(libraries), shared, *system, "/lib64", "/usr/lib64", "/lib/ld-linux-aarch64.so.1"]
    hidden = [
        str(found)
        for each in sorted(libraries)
        for name in ("site-packages", "dist-packages")
        if (found := each / name).exists()
    ]
    return (
        *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1"),
        *("--hostname", "sandbox", "--cap-drop", "ALL"),
        *(part for path in seen for part in ("--ro-bind-try", str(path), str(path))),
        *(part for path in hidden for part in ("--tmpfs", path, "--remount-ro", path)),
        *("--remount-ro", "/", "--chdir", "/"),
        *(str(python), "-s", "-S", "-P", "-B", "-c", Path(harness.__file__).read_text(encoding="utf-8")),
    )
