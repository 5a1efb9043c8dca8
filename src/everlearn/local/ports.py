"""Choose free TCP ports on the loopback interface, and check them before a server starts."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

from everlearn.errors import ServiceError
from everlearn.local.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

HOST = "127.0.0.1"
# SeaweedFS also listens on each port plus 10,000 (gRPC). Both stay below the range of ephemeral ports.
FIRST_PORT, LAST_PORT, GRPC_OFFSET = 20_000, 22_700, 10_000
RELEASE_TIMEOUT_S = 3.0


def draw_ports(roles: tuple[str, ...]) -> dict[str, int]:
    """Return a free port for each role, such that the port plus 10,000 is free, too."""
    candidates = random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), k=200)
    free = (port for port in candidates if is_free(port) and is_free(port + GRPC_OFFSET))
    return dict(zip(roles, free, strict=False))


def is_free(port: int) -> bool:
    """Return whether a server could bind `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def check_ports(ports: Collection[int], *, owner: str, config: Path) -> None:
    """Raise ServiceError if another program uses one of `ports`; `config` is the file that holds them.

    A server that was just killed may need a moment to release its ports, so busy ports are polled for 3 s.
    """
    if not wait_until(lambda: all(is_free(port) for port in ports), timeout_s=RELEASE_TIMEOUT_S):
        busy = next((port for port in ports if not is_free(port)), 0)
        raise ServiceError(
            f"{owner} needs port {busy}, which another program uses; stop that program (`ss -ltnp`), "
            f"or change the port in {config}"
        )
