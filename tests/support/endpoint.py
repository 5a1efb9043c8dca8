"""A real endpoint in a thread, and the official client of OpenAI for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import httpx2
import uvicorn
from openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve the app on a free port of loopback while the block runs. Yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def client_of(url: str, *, key: str = "none") -> Iterator[OpenAI]:
    """Yield the official client. It does not try again, and it knows no proxy."""
    with httpx2.Client(trust_env=False, timeout=60) as connections:
        yield OpenAI(base_url=url, api_key=key, max_retries=0, http_client=connections)
