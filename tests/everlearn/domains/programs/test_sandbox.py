"""What a program in the sandbox can see and do, and what it costs if it does not end.

Tests of what isolates a program need the real sandbox; those of limits that this side keeps run without one, too.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import pytest

from everlearn.domains.programs import sandbox
from everlearn.domains.programs.sandbox import CPU_S, RunEnd, require_sandbox, run_calls, sandbox_command
from everlearn.domains.programs.values import decode, read_output
from everlearn.errors import SandboxError
from tests.support.sandbox import install_stand_in, needs_sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everlearn.domains.programs.sandbox import ProgramRun

isolated = needs_sandbox()


def outcome(body: str, *, hash_seed: int = 0) -> object:
    """Return what the body of a function of x returns in the sandbox, the name of what it raises, or the end of the run."""
    run = run_calls(f"def f(x):\n{indent(body, '    ')}", "f", [[1]], hash_seed=hash_seed)
    if run.end is not RunEnd.FINISHED:
        return run.end
    return told(run)[0] if run.output else "nothing"


def outcomes(bodies: Sequence[str]) -> dict[str, object]:
    """Return the same for many bodies, in one run."""
    functions = [f"def f{number}(x):\n{indent(body, '    ')}" for number, body in enumerate(bodies)]
    source = "\n".join([*functions, "def f(x): return globals()[f'f{x}'](x)"])
    run = run_calls(source, "f", [[number] for number in range(len(bodies))])
    return dict(zip(bodies, told(run), strict=True))


def told(run: ProgramRun) -> list[object]:
    assert run.end is RunEnd.FINISHED
    _, *results = read_output(run.output)
    words = {"v": "", "x": "raises ", "u": "gives "}
    return [f"{words[kind]}{decode(value)}" if words[kind] else decode(value) for kind, value in results]


def test_a_program_is_called_with_each_of_the_arguments() -> None:
    run = run_calls("def f(x, y=1): return [x, y]", "f", [[1], ["a", (2,)], [{None: 1.5}]])
    assert run.end is RunEnd.FINISHED
    kind, *results = read_output(run.output)
    assert kind == "results"
    assert [decode(value) for _, value in results] == [[1, 1], ["a", (2,)], [{None: 1.5}, 1]]


@isolated
def test_a_program_sees_python_and_nothing_else() -> None:
    seen = outcome("import os\nreturn [sorted(os.environ.items()), os.getcwd(), os.getpid(), os.uname().nodename]")
    assert seen == [[("PWD", "/"), ("PYTHONHASHSEED", "0")], "/", 1, "sandbox"]
    top = {Path(sys.base_prefix).parts[1], "usr", "lib", "lib64"}
    assert set(outcome("import os\nreturn os.listdir('/')")) <= top  # type: ignore[call-overload]


@isolated
def test_no_file_of_this_machine_is_seen() -> None:
    paths = [
        "/proc/1/environ",
        "/proc/self/maps",
        "/etc/passwd",
        "/dev/null",
        "/sys",
        "/tmp",
        "/home",
        "/bin/sh",
        "/usr/bin",
        "/var",
        "/run",
    ]
    packages = [Path(__file__).parents[4], Path.home() / ".ssh", Path(sandbox.__file__).parent]
    seen = outcomes([f"import os\nreturn os.stat({str(path)!r})" for path in (*paths, *packages)])
    assert set(seen.values()) == {"raises FileNotFoundError"}
    assert set(outcomes(["import everlearn", "import pip"]).values()) == {"raises ModuleNotFoundError"}


@isolated
def test_nothing_can_be_written() -> None:
    folders = ["/", "/usr/lib/", "/tmp/", "/dev/shm/", f"{Path(os.__file__).parent}/", "/root/"]
    seen = outcomes([f"open({folder + 'new'!r}, 'w').write('x')" for folder in folders])
    assert set(seen.values()) <= {"raises OSError", "raises FileNotFoundError"}


@isolated
def test_the_kernel_refuses() -> None:
    seen = outcomes(REFUSED)
    names = {"PermissionError", "OSError", "ValueError", "itimer_error", "RuntimeError"}
    assert not {body: end for body, end in seen.items() if end not in {f"raises {name}" for name in names}}


REFUSED = [
    "import os\nreturn os.fork()",
    "import subprocess\nsubprocess.run(['/bin/true'])",
    "import os\nos.posix_spawn('/bin/true', ['true'], {})",
    "import socket\nsocket.socket()",
    "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "import os\nos.kill(os.getppid(), 9)",
    "import os\nos.kill(1, 15)",
    "import os\nos.kill(-1, 9)",
    "import signal\nsignal.setitimer(signal.ITIMER_REAL, 1)",
    "import time\ntime.sleep(100)",
    "import os\nos.pipe()",
    "import os\nos.memfd_create('x')",
    "import os\nos.symlink('/etc', '/x')",
    "import os\nos.mkdir('/x')",
    "import os\nos.chmod('/usr', 0o777)",
    "import os\nos.unlink('/usr/lib/x')",
    "import os\nos.setuid(1)",
    "import os\nos.sched_setaffinity(0, [0])",
    "import os\nos.nice(-1)",
    "import os\nos.write(0, b'x')",
    "import os\nos.truncate(0, 0)",
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
    "import select\nselect.select([], [], [], 100)",
    "import threading\nthreading.Thread(target=print).start()",
]


@isolated
def test_system_calls_by_ctypes_are_refused() -> None:
    calls = (
        "prctl(22, 0, 0, 0, 0)",
        "ptrace(0, 0, 0, 0)",
        "unshare(0x10000000)",
        "mount(b'a', b'/', b'tmpfs', 0, 0)",
        "alarm(1)",
    )
    head = "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
    seen = outcomes([f"{head}c.{call}\nreturn ctypes.get_errno()" for call in calls])
    assert set(seen.values()) == {errno.EPERM}


@isolated
def test_only_the_channel_is_open_beside_the_standard_files() -> None:
    body = """
import os, stat
found = []
for number in range(64):
    try:
        found.append(stat.S_IFMT(os.fstat(number).st_mode))
    except OSError:
        pass
return [found == [stat.S_IFREG, stat.S_IFCHR, stat.S_IFCHR, stat.S_IFIFO]]"""
    assert outcome(body) == [True]


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True: print('x' * 1000)",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "import os, sys\nos.close(int(sys.argv[1]))\nwhile True: pass",
        "try:\n    while True: pass\nexcept BaseException:\n    return 1",
        "return 10 ** 10 ** 9",
    ],
)
def test_a_program_without_end_is_stopped_by_its_own_time(body: str) -> None:
    started = time.process_time()
    assert outcome(body) in {RunEnd.CPU, "raises MemoryError"}
    assert time.process_time() - started < CPU_S, "the waiting costs next to nothing"


def test_the_kernel_stops_a_program_that_is_not_watched() -> None:
    assert sandbox._end(b"R", 137, cpu=1.0) is RunEnd.CPU
    assert sandbox._end(b"R", 152, cpu=1.0) is RunEnd.CPU
    assert sandbox._end(b"R", 137, cpu=0.1) is RunEnd.KILLED
    assert sandbox._end(b"R", -9, cpu=0.1) is RunEnd.KILLED
    assert sandbox._end(b"R", 139, cpu=0.1) is RunEnd.DIED
    assert sandbox._end(b"", 0, cpu=0.1) is RunEnd.NOT_STARTED


def test_a_program_that_waits_is_stopped_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WALL_S", 0.3)
    assert outcome("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()") is RunEnd.WALL


def test_endless_output_is_stopped() -> None:
    assert outcome("import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 60000)") is RunEnd.OUTPUT


@isolated
@pytest.mark.parametrize("body", ["return len([0] * 10**9)", "x = 'x'\nwhile True: x += x", "return bytearray(2**40)"])
def test_memory_is_limited(body: str) -> None:
    assert outcome(body) == "raises MemoryError"


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("def g(n): return g(n + 1)\nreturn g(0)", "raises RecursionError"),
        ("import os\nos._exit(0)", "nothing"),
        ("import os\nos._exit(3)", RunEnd.DIED),
        ("import sys\nsys.exit(0)", "raises SystemExit"),
        ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
        ("class E(BaseException): pass\nraise E", "raises E"),
        ("return str(10**5000)", "raises ValueError"),
        ("return 1 << 10**6", "gives too large"),
        ("yield 1", "gives generator"),
        ("a = []\na.append(a)\nreturn a", "gives too large"),
    ],
)
def test_every_end_is_seen(body: str, seen: object) -> None:
    assert outcome(body) == seen


@isolated
@pytest.mark.parametrize(
    "body",
    [
        "import ctypes\nctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ng = lambda n: [g(n + 1)]\ng(0)",
        "import os\nos.abort()",
    ],
)
def test_a_crash_ends_the_sandbox_alone(body: str) -> None:
    assert outcome(body) in {RunEnd.DIED, RunEnd.CPU, "raises MemoryError"}


def test_sets_are_in_the_same_order_each_time() -> None:
    body = "return [hash('a'), list({'ab', 'cd', 'ef', 'gh'})]"
    assert outcome(body) == outcome(body) != outcome(body, hash_seed=1)


def test_a_sandbox_that_does_not_start_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("/bin/false", "/no/such/program"):
        monkeypatch.setattr(sandbox, "sandbox_command", lambda _, command=command: [command])
        run = run_calls("def f(x): return x", "f", [[1]])
        assert (run.end, run.output) == (RunEnd.NOT_STARTED, b"")


@isolated
def test_a_sandbox_ends_with_its_owner() -> None:
    code = (
        "from everlearn.domains.programs.sandbox import run_calls\n"
        "run_calls('import threading\\nl = threading.Lock()\\nl.acquire()\\nl.acquire()', 'f', [[1]])"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as owner:
        started = family(owner.pid, depth=2)
        owner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 60
    while any(is_alive(pid) for pid in started) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [pid for pid in started if is_alive(pid)]


def family(pid: int, *, depth: int) -> list[int]:
    """Return the child, and its child, as soon as they exist."""
    found: list[int] = []
    while len(found) < depth:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        if children:
            pid = int(children[0])
            found.append(pid)
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_without_bwrap_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"bwrap is missing: install it .`apt install bubblewrap`"):
        sandbox_command(0)


@pytest.mark.parametrize("says", ["No permissions to create a new namespace", ""])
def test_where_namespaces_are_refused_the_remedy_is_named(
    says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    require_sandbox.cache_clear()
    with pytest.raises(SandboxError, match=f"{says or 'not started'}.: allow user namespaces: `sysctl -w"):
        require_sandbox()


def test_without_an_interpreter_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sandbox._arguments.cache_clear()
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    with pytest.raises(SandboxError, match=r"needs the Python interpreter .*, which is missing"):
        sandbox._arguments()
    sandbox._arguments.cache_clear()


def test_the_stand_in_of_these_tests_runs_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_stand_in(tmp_path, monkeypatch)
    require_sandbox()
    assert outcome("return x + 1") == 2
