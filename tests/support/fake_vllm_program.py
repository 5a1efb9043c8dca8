"""A fake of the program `vllm`, for a server that a worker starts: `serve BASE --port PORT …` with the fake of its API.

`write_program` makes it; beside it, `pids` lists the processes of every start (the server's and one that the server
starts, as vLLM starts its engine) and `loads` each adapter loaded. It does not start while there is a file `broken`,
and serves no model, only its health, while there is a file `idle`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]


def write_program(folder: Path) -> Path:
    """Write the program into a folder and return its path."""
    program = folder / "vllm"
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'src')]}\nfrom {__name__} import main\nmain()\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    return program


def main() -> None:
    """Serve until killed."""
    folder, given = Path(sys.argv[0]).parent, sys.argv[2:]
    port = int(given[given.index("--port") + 1])
    if (folder / "broken").exists():
        sys.exit("no room for the keys and values")
    engine = subprocess.Popen(["sleep", "1000"])
    with (folder / "pids").open("a") as pids:
        pids.write(f"{os.getpid()} {engine.pid}\n")
    if (folder / "idle").exists():
        ThreadingHTTPServer(("127.0.0.1", port), _Healthy).serve_forever()
    from everlearn.training.models.policy import load_policy  # imports torch
    from tests.support.fake_vllm import FakeVllm

    with FakeVllm(load_policy(Path(given[0]), rank=4, alpha=8), port=port, log=folder / "loads"):
        threading.Event().wait()


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
