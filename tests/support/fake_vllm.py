"""A fake of the part of vLLM's API that `everlearn.training.engines.vllm` uses, with our own decoder and with faults.

Faults of every request: `resets` and `dies` close connections, `hangs` never answers, `breaks` returns 500, `forgets`
loses its adapters, `babbles` returns other JSON, `shortens` returns too few tokens. Of answers that end: `swallows`
returns no end token.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetensors.torch import load_file

from everlearn.registry.adapter_settings import WEIGHTS
from everlearn.training.engines.decode import decode
from everlearn.training.models.llama import token_logprobs

if TYPE_CHECKING:
    from types import TracebackType

    from everlearn.training.models.llama import Model
    from everlearn.training.models.policy import Policy

FAULTS = ("resets", "dies", "hangs", "breaks", "forgets", "babbles", "shortens")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    fake: FakeVllm

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: clients that disconnect are part of the tests."""


@dataclass(slots=True)
class FakeVllm:
    """One replica on a free port, with a `fault` after `sound` completed requests.

    `shift` is added to every log-probability, and noise of the standard deviation `rounding`; `raw` reports them before
    the temperature; `stale` always answers with the adapter before the newest one, `bare` with the base model.
    `context` is what it says of its context, and with `refuses` it calls every request wrong. The names of loaded
    adapters are added to `log`.
    """

    policy: Policy
    port: int = 0
    fault: str | None = None
    sound: int = 0
    shift: float = 0.0
    raw: bool = False
    rounding: float = 0.0
    stale: bool = False
    bare: bool = False
    context: int | None = None
    refuses: bool = False
    log: Path | None = None
    newest: Model | None = None
    models: dict[str, Model] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    dying: threading.Barrier = field(default_factory=lambda: threading.Barrier(3))
    server: _Server = field(init=False)

    def __enter__(self) -> Self:
        self.server = _Server(("127.0.0.1", self.port), _Handler)
        self.server.fake = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def break_down(self, fault: str, *, after: int = 0) -> None:
        """Set a fault that starts after `after` more completed requests."""
        self.fault, self.sound = fault, self.answered + after

    def load(self, name: str, path: str) -> tuple[int, object]:
        if name in self.models:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        stored = load_file(Path(path) / WEIGHTS)
        lora = {
            module: (
                stored[f"base_model.model.{module}.lora_A.weight"],
                stored[f"base_model.model.{module}.lora_B.weight"],
            )
            for module in self.policy.lora
        }
        before, self.newest = self.newest, replace(self.policy, lora=lora).snapshot()
        self.models[name] = self.policy.base_model if self.bare else (self.stale and before) or self.newest
        self.calls.append(f"load {name}")
        if self.log is not None:
            with self.log.open("a") as lines:
                lines.write(f"{name}\n")
        return 200, "Success"

    def unload(self, name: str) -> tuple[int, object]:
        if self.models.pop(name, None) is None:
            return 404, {"error": {"message": f"The lora adapter '{name}' cannot be found."}}
        self.calls.append(f"unload {name}")
        return 200, "Success"

    def failure(self) -> str | None:
        """Return the fault for the next completion request, or None and count it as answered."""
        with self.lock:
            if self.fault is not None and self.answered >= self.sound:
                return self.fault
            self.answered += 1
            return None

    def complete(self, body: dict[str, Any], *, fault: str | None) -> tuple[int, object]:
        self.requests.append(body)
        if self.refuses:
            return 400, {"error": {"message": "This model's maximum context length is 10 tokens."}}
        model = self.models.get(body["model"])
        if model is None:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        prompt, seed, temperature = body["prompt"], body["seed"], body["temperature"] or 1.0
        [[drawn]] = decode(
            model,
            [prompt],
            group=1,
            seeds=None if seed is None else [seed],
            stops=body["stop_token_ids"],
            limit=body["max_tokens"],
            temperature=temperature,
        )
        noise = random.Random(f"{prompt} {seed}")
        logprobs = [score + self.shift + noise.gauss(0, self.rounding) for score in drawn.logprobs]
        if self.raw:
            logprobs = token_logprobs(model, [prompt], [drawn.ids])[0][0].tolist()
        ids = drawn.ids[:-1] if fault == "shortens" else drawn.ids
        if fault == "swallows" and drawn.finished and len(ids) > 1:
            ids, logprobs = ids[:-1], logprobs[:-1]
        return 200, {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": logprobs}}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def fake(self) -> FakeVllm:
        assert isinstance(self.server, _Server)
        return self.server.fake

    def do_GET(self) -> None:
        own = {"max_model_len": self.fake.context}
        self._answer(200, {"data": [{"id": name} | own for name in ["base", *self.fake.models]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/load_lora_adapter":
            self._answer(*self.fake.load(body["lora_name"], body["lora_path"]))
        elif self.path == "/v1/unload_lora_adapter":
            self._answer(*self.fake.unload(body["lora_name"]))
        elif self.path in {"/sleep?level=1", "/wake_up"}:
            self.fake.calls.append(self.path)
            self._answer(200, "")
        else:
            self._complete(body, fault=self.fake.failure())

    def _complete(self, body: dict[str, Any], *, fault: str | None) -> None:
        if fault == "resets":
            self.close_connection = True
        elif fault == "dies":
            with contextlib.suppress(threading.BrokenBarrierError):
                self.fake.dying.wait(10)  # so that several requests are lost at once
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "hangs":
            self.fake.over.wait()
            self.close_connection = True
        elif fault == "breaks":
            self._answer(500, {"error": {"message": "EngineCore encountered an issue"}})
        elif fault == "babbles":
            self._answer(200, "no vLLM at all")
        else:
            if fault == "forgets":
                self.fake.models.clear()
            self._answer(*self.fake.complete(body, fault=fault))

    def _answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing: a failing test shows the cause."""
