"""Real vLLM servers: those of `.vllm` (`make vllm`), or VLLM=/path/to/bin/vllm make test-slow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM = Path(os.environ.get("VLLM") or Path(__file__).parents[2] / ".vllm" / "bin" / "vllm")
needs_vllm = pytest.mark.skipif(not PROGRAM.exists(), reason="no vLLM: run `make vllm`, or set VLLM to its program")
SMOLLM2 = Path(__file__).parents[2] / ".everlearn" / "models" / "smollm2"
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason="no model: run `make smollm2`")
ENVIRON = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill the server and its engine, as a power failure would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def generated_tokens(self) -> int:
        """Return the number of answer tokens generated so far."""
        return generated_tokens(self.url)


def generated_tokens(url: str) -> int:
    """Return the number of answer tokens that the server at `url` has generated; 0 if it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vllm:generation_tokens_total"))


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a server: ours without the variables of our own code, plus what vLLM needs."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EVERLEARN_", "PYTHON"))}
    path = os.pathsep.join([str(PROGRAM.parent), os.environ["PATH"]])
    return ours | ENVIRON | {"PATH": path} | more


@contextlib.contextmanager
def serving(base: Path, *, environ: Mapping[str, str], flags: Sequence[str], log: Path) -> Iterator[Server]:
    """Run a server of the model in `base` during the block; its output goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(PROGRAM), "serve", str(base), *flags, "--host", "127.0.0.1", "--port", str(port)]
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=environ, stdout=file, stderr=file, start_new_session=True) as process,
    ):
        try:
            end = time.monotonic() + 300
            while not is_up(f"{url}/health"):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.5)
            yield Server(url=url, process=process)
        finally:
            process.terminate()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
