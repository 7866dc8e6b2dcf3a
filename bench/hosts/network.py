"""Hosts made of network namespaces: each has an address of its own on one switch, and a cable that can be cut.

A cut is a link that is down: packets vanish and nobody is told, as with a real cable. Loopback never shows that, since
there a dead peer answers with a reset.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_NAMES = Path("/run/netns")
_OURS = "fdhost-"
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """One machine: what is started on it sees only its network. last: the last number of its address."""

    def __init__(self, switch: str, name: str, last: int) -> None:
        self.name, self.address = name, f"10.77.0.{last}"
        self.namespace = switch.removesuffix("switch") + name
        self._switch, self._port = switch, f"to-{name}"
        _ip("netns", "add", self.namespace)
        _ip("-n", switch, "link", "add", self._port, "type", "veth", "peer", "eth0", "netns", self.namespace)
        _ip("-n", switch, "link", "set", self._port, "master", "switch", "up")
        _ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", link, "up")

    def cut(self) -> None:
        """Pull the cable out at the switch: the host itself sees its link lose the carrier, and keeps its address."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def restore(self) -> None:
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def command(self, command: Sequence[str], user: str | None = None) -> list[str]:
        """The same, to be run on this host. user: as whom."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return ["nsenter", f"--net={_NAMES / self.namespace}", *become, *command]

    def start(
        self, command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a program. folder: where it stands, which for ours says which version runs."""
        with log.open("ab") as out:
            return subprocess.Popen(self.command(command), env=environ, cwd=folder, stdout=out, stderr=out)

    def lose_power(self) -> None:
        """SIGKILL for all that runs here."""
        _kill_all(self.namespace)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Within, this thread's new connections leave from here."""
        with Path("/proc/thread-self/ns/net").open() as before:
            self.enter()
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def enter(self) -> None:
        """From now on this thread, and all that it starts, is on this host."""
        with (_NAMES / self.namespace).open() as namespace:
            _set_namespace(namespace.fileno())


@contextmanager
def network(names: Mapping[str, int]) -> Iterator[dict[str, Host]]:
    """Hosts on one switch; when it ends, all that still runs on them is killed. names: name → last address number."""
    _remove_leftovers()
    switch = f"{_OURS}{os.getpid()}-switch"
    _ip("netns", "add", switch)
    hosts: dict[str, Host] = {}
    try:
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for name, last in names.items():
            hosts[name] = Host(switch, name, last)
        yield hosts
    finally:
        for name in [*(host.namespace for host in hosts.values()), switch]:
            _remove(name)


def missing() -> str | None:
    """Why namespaces cannot be made here, as a sentence; None when they can."""
    try:
        _ip("netns", "add", f"{_OURS}{os.getpid()}-probe")
        _remove(f"{_OURS}{os.getpid()}-probe")
    except FileNotFoundError:
        return "The multi-host run needs the command `ip` (Debian, Ubuntu: apt install iproute2)."
    except RuntimeError:
        return "The multi-host run makes network namespaces, which needs root on Linux."
    return None


def _remove(namespace: str) -> None:
    _kill_all(namespace)
    _ip("netns", "delete", namespace)


def _kill_all(namespace: str) -> None:
    """But for ourselves: we may be standing in it."""
    for pid in map(int, _ip("netns", "pids", namespace).split()):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _remove_leftovers() -> None:
    """Of runs that were killed."""
    for name in sorted(path.name for path in _NAMES.glob(f"{_OURS}*")):
        if not Path(f"/proc/{name.split('-')[1]}").exists():
            _remove(name)


def _set_namespace(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
