"""Machines to test with, made of Linux namespaces: each has a name, a network and a directory of its own.

    with network() as net, net.host("one", at=folder, shows=tmp_path / "one") as host:
        host.start(["everlearn", "status"], environ={})    # runs there; `folder` is that host's own directory

What a server on this machine's loopback serves is reached from a host at `net.reach(port)`. Needs root.
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


def refusal() -> str | None:
    """Why no host can be made here, if so."""
    if os.getuid() != 0:
        return "namespaces of the network need root"
    name = f"el{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode == 0:
        run("ip", "netns", "del", name)
    return made.stderr.strip() or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One of them. `at` is a directory that every host has, and each sees as its own, which is `shows` outside."""

    name: str
    space: str
    at: Path
    shows: Path
    wire: str

    def command(self, words: Sequence[str]) -> list[str]:
        """What lets `words` run there."""
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
    """This machine and the hosts that are wired to it."""

    number: int
    hosts: int = 0
    doors: dict[int, socket.socket] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """This machine, as the first host sees it; all others reach it by way of their own wire."""
        return f"{SUBNET}.{self.number}.1"

    @contextlib.contextmanager
    def host(self, name: str, *, at: Path, shows: Path) -> Iterator[Host]:
        """A host until the block ends; what still runs there then is the caller's to stop."""
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
            inside = (f"echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; ip addr add {theirs}/24 dev wire; "
                      f"ip link set wire up; ip route add default via {ours}")  # fmt: skip
            run("ip", "netns", "exec", space, "sh", "-c", inside)
            yield Host(name=name, space=space, at=at, shows=shows, wire=wire)
        finally:
            run("ip", "netns", "del", space)

    def reach(self, port: int) -> str:
        """`http://ADDRESS:PORT` for what serves on that port of our loopback."""
        if port not in self.doors:
            door = socket.create_server((self.address, 0))
            threading.Thread(target=_serve, args=(door, port), daemon=True).start()
            self.doors[port] = door
        return f"http://{self.address}:{self.doors[port].getsockname()[1]}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Addresses that no other test of this machine uses at the time."""
    made = Network(number=10 + os.getpid() % 200)
    run(
        "ip", "addr", "add", f"{made.address}/32", "dev", "lo"
    )  # so that a door can be opened before the first host is there
    try:
        yield made
    finally:
        run("ip", "addr", "del", f"{made.address}/32", "dev", "lo")
        for door in made.doors.values():
            door.close()


class Ear:
    """Hears what leaves a host: address and port of each packet that goes anywhere but to the host itself."""

    def __init__(self, host: Host) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind((host.wire, 0))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> set[str]:
        """Since the last time. A name that was asked for stands with it."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while packet := self._socket.recv(65535):
                begin = 14 + (packet[14] & 15) * 4
                port = struct.unpack("!H", packet[begin + 2 : begin + 4])[0]
                asked = packet[begin + 20 :].split(b"\0\0")[0] if port == 53 else b""
                found.add(f"{socket.inet_ntoa(packet[30:34])}:{port} {asked.decode('latin-1')}".strip())
        return found


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _serve(door: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            caller, _ = door.accept()
            try:
                called = socket.create_connection((HOST, port))
            except OSError:
                caller.close()
                continue
            for source, sink in ((caller, called), (called, caller)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
