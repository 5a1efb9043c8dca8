"""Simulated hosts, made of Linux namespaces: each has its own name, network and directory.

    with network() as net, net.host("one", at=folder, shows=tmp_path / "one") as host:
        host.start(["everlearn", "status"], environ={})    # `folder` is that host's own directory

A host reaches a server on this machine's loopback interface at `net.reach(port)`. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from everlearn.local.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SUBNET = "10.213"
_ENTER = 'mount --bind "$1" "$2" && mount --bind "$3" /etc/resolv.conf && hostname "$4" && shift 4 && cd "$PLACE" && exec "$@"'


def why_unavailable() -> str | None:
    """Return why namespaces cannot be created here; None if they can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    name = f"el{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode == 0:
        run("ip", "netns", "del", name)
    return made.stderr.strip() or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host. `at` is the same path on every host; `shows` is the directory outside that is mounted there."""

    name: str
    space: str
    at: Path
    shows: Path
    wire: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line that runs `words` on the host."""
        entered = ["ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c", _ENTER, "sh"]
        return [*entered, str(self.shows), str(self.at), str(self.shows / "resolv.conf"), self.name, *words]

    def start(self, words: Sequence[str], *, environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                self.command(words), env=dict(environ) | {"PLACE": str(self.at)}, stdout=out, stderr=out
            )

    def run(self, words: Sequence[str], *, environ: Mapping[str, str]) -> str:
        done = subprocess.run(
            self.command(words),
            env=dict(environ) | {"PLACE": str(self.at)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(slots=True, kw_only=True)
class Network:
    """This machine and the hosts that are connected to it."""

    number: int
    hosts: int = 0
    forwarders: dict[int, socket.socket] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Address of this machine; each host reaches it through its own link."""
        return f"{SUBNET}.{self.number}.1"

    @contextlib.contextmanager
    def host(self, name: str, *, at: Path, shows: Path) -> Iterator[Host]:
        """Create a host until the block ends; the caller stops the processes on it."""
        self.hosts += 1
        space, wire = f"el{self.number}-{self.hosts}", f"el{self.number}w{self.hosts}"
        ours, theirs = f"{SUBNET}.{self.number + self.hosts - 1}.1", f"{SUBNET}.{self.number + self.hosts - 1}.2"
        shows.mkdir(parents=True, exist_ok=True)
        at.mkdir(parents=True, exist_ok=True)
        (shows / "resolv.conf").write_text(f"nameserver {ours}\noptions timeout:1 attempts:1\n")
        run("ip", "netns", "add", space)
        try:
            run("ip", "link", "add", wire, "type", "veth", "peer", "name", "wire", "netns", space)
            run("ip", "addr", "add", f"{ours}/24", "dev", wire)
            run("ip", "link", "set", wire, "up")
            quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up"
            link = f"ip addr add {theirs}/24 dev wire; ip link set wire up; ip route add default via {ours}"
            run("ip", "netns", "exec", space, "sh", "-c", f"{quiet}; {link}")
            yield Host(name=name, space=space, at=at, shows=shows, wire=wire)
        finally:
            run("ip", "netns", "del", space)

    def reach(self, port: int) -> str:
        """Return the URL at which hosts reach a port of this machine's loopback interface."""
        if port not in self.forwarders:
            forwarder = socket.create_server((self.address, 0))
            threading.Thread(target=_serve, args=(forwarder, port), daemon=True).start()
            self.forwarders[port] = forwarder
        return f"http://{self.address}:{self.forwarders[port].getsockname()[1]}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Create a network whose addresses depend on this process's id, so that tests can run in parallel."""
    made = Network(number=10 + os.getpid() % 200)
    # On the loopback interface, so that a forwarder can listen before the first host exists.
    run("ip", "addr", "add", f"{made.address}/32", "dev", "lo")
    try:
        yield made
    finally:
        run("ip", "addr", "del", f"{made.address}/32", "dev", "lo")
        for forwarder in made.forwarders.values():
            forwarder.close()


class Sniffer:
    """Records address and port of each IP packet that leaves a host."""

    def __init__(self, host: Host) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind((host.wire, 0))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def destinations(self) -> set[str]:
        """Return the destinations since the last call; for a DNS query together with the name."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while packet := self._socket.recv(65535):
                begin = 14 + (packet[14] & 15) * 4
                port = struct.unpack("!H", packet[begin + 2 : begin + 4])[0]
                name = packet[begin + 20 :].split(b"\0\0")[0] if port == 53 else b""
                found.add(f"{socket.inet_ntoa(packet[30:34])}:{port} {name.decode('latin-1')}".strip())
        return found


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _serve(forwarder: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            caller, _ = forwarder.accept()
            try:
                called = socket.create_connection((HOST, port))
            except OSError:
                caller.close()
                continue
            threading.Thread(target=_join, args=(caller, called), daemon=True).start()


def _join(caller: socket.socket, called: socket.socket) -> None:
    with caller, called:
        back = threading.Thread(target=_pump, args=(called, caller), daemon=True)
        back.start()
        _pump(caller, called)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
