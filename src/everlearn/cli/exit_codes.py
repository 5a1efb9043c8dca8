"""The exit codes of the command line: one table, which `everlearn --help` and docs/cli.md print.

Errors of `everlearn.errors` carry their code; a test compares them with the table, and the codes that the help of a
command names. An error of the operating system that a user can mend gets a message here; any other is a bug.
"""

from __future__ import annotations

import errno
import signal

from everlearn.errors import DiskFullError

DISK_FULL, NOT_WRITABLE = DiskFullError.exit_code, 13
EXIT_CODES = {"REJECTED": 10, "INSUFFICIENT": 11}
"""Exit codes of nights that ended without a version, by their end."""

TABLE = {
    0: "done (also: nothing new, or done before)",
    1: "doctor, certify, solve, leaks or gate audit found what should not be, a question was answered with no, or a bug, with its traceback",
    2: "wrong input, setting or option",
    3: "the object store refused, or did not answer",
    4: "the line's history does not allow this",
    5: "a digest, a signature or the chain of events is not valid",
    6: "the night cannot continue",
    7: "a base model or an adapter cannot be used",
    8: "a server does not start, stop or answer",
    DISK_FULL: "the disk of this machine is full",
    EXIT_CODES["REJECTED"]: "the gate rejected the night's candidate",
    EXIT_CODES["INSUFFICIENT"]: "the gate could not decide",
    12: "the champion has changed, but a consumer did not follow in time",
    NOT_WRITABLE: "a file or directory cannot be read or written here",
    128 + signal.SIGINT: "stopped by Ctrl-C",
    128 + signal.SIGTERM: "stopped by SIGTERM",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


def as_markdown() -> str:
    """Return the table as a list."""
    return "\n".join(f"- {code} {meaning}" for code, meaning in TABLE.items())


def explain(error: OSError) -> tuple[int, str] | None:
    """Return the exit code and the message of an error that a user can mend; None for any other."""
    if error.errno in _FULL:
        return DISK_FULL, f"the disk is full ({error}); make room and run the same command again: it resumes"
    if error.errno == errno.ENOENT and error.filename is None:  # of os.getcwd
        return NOT_WRITABLE, "the working directory does not exist any more; change to another one"
    if error.errno in _FORBIDDEN and error.filename is not None:
        return NOT_WRITABLE, (
            f"{error.filename} cannot be read or written ({error.strerror}); change its permissions, or name directories "
            "that can be written: `everlearn --home DIR`, and for outputs the option of the command"
        )
    return None
