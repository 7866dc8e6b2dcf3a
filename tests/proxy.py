"""A wire between us and PostgreSQL that a test can cut, freeze, and cut at the very moment of a commit."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # as a simple query goes over the wire


class Proxy:
    """Listens on a port of this machine and forwards to the server's socket."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cut_commit: str | None = None  # "before" or "after" the server has it; once
        self.cuts = 0
        self._thawed = threading.Event()
        self._thawed.set()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def freeze(self) -> None:
        """From now on nothing moves, and nobody is told."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def close(self) -> None:
        self.thaw()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._sockets:
            _end(one)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._sockets += [client, server]
                for ends in ((client, server), (server, client)):
                    thread = threading.Thread(target=self._forward, args=(*ends, ends[0] is client))
                    self._threads.append(thread)
                    thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._thawed.wait()
                if is_client and COMMIT in data and self.cut_commit:
                    self._cut(source, target, data)
                    return
                target.sendall(data)
        _end(source)
        _end(target)

    def _cut(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        when, self.cut_commit = self.cut_commit, None
        self.cuts += 1
        if when == "before":
            _end(client)
            _end(server)
            return
        _end(client)  # nobody hears the answer
        server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)  # the server takes the commit, then sees that we are gone


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
