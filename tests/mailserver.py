"""A mail server on a port of this machine: records what it takes, and refuses, hangs or hangs up on demand."""

from __future__ import annotations

import email
import email.policy
import re
import socketserver
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class MailServer:
    """refuse: command, or all of its line → the answer it gets instead. hang: it says nothing at all.

    tls: it speaks TLS from the start. certificate: with one it offers STARTTLS. accounts: user and password that it
    asks for, as AUTH PLAIN.
    """

    refuse: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    tls: bool = False
    certificate: ssl.SSLContext | None = None
    mails: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def __enter__(self) -> MailServer:
        self.over = threading.Event()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        house = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, EOFError):  # the other side hung up, or does not trust us
                    _Talk(house, self.request).run()

        return Handler


class _Talk:
    """One conversation."""

    def __init__(self, house: MailServer, connection: ssl.SSLSocket) -> None:
        self._house, self._connection = house, connection

    def run(self) -> None:
        try:
            self._talk()
        finally:
            self._connection.close()

    def _talk(self) -> None:
        if self._house.hang:
            self._house.over.wait(60)
            return
        if self._house.tls:
            self._encrypt()
        self._read_from(self._connection)
        self._say("220 mail.example")
        while self._answer(self._line()):
            pass

    def _encrypt(self) -> None:
        assert self._house.certificate is not None
        self._connection = self._house.certificate.wrap_socket(self._connection, server_side=True)

    def _read_from(self, connection: ssl.SSLSocket) -> None:
        self._lines = connection.makefile("rb")

    def _line(self) -> str:
        line = self._lines.readline()
        if not line:
            raise EOFError
        return line.decode().rstrip("\r\n")

    def _say(self, text: str) -> None:
        self._connection.sendall(f"{text}\r\n".encode())

    def _answer(self, line: str) -> bool:
        command = re.split("[ :]", line, maxsplit=1)[0].upper()
        self._house.commands.append(command)
        if refusal := self._house.refuse.get(command) or self._house.refuse.get(line):
            self._say(refusal)
        elif command == "EHLO":
            offers = ["mail.example", "AUTH PLAIN", *(["STARTTLS"] if self._house.certificate else []), "8BITMIME"]
            for n, offer in enumerate(offers):
                self._say(f"250{' ' if n == len(offers) - 1 else '-'}{offer}")
        elif command == "STARTTLS":
            self._say("220 go on")
            self._encrypt()
            self._read_from(self._connection)
        elif command == "DATA":
            self._say("354 go on")
            self._take()
        else:
            self._say({"AUTH": "235 welcome", "QUIT": "221 bye"}.get(command, "250 ok"))
        return command != "QUIT"

    def _take(self) -> None:
        lines = []
        while (line := self._line()) != ".":
            lines.append(line.removeprefix(".") if line.startswith("..") else line)  # RFC 5321, 4.5.2
        message = email.message_from_bytes("\r\n".join(lines).encode(), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self._house.mails.append(message)
        self._say("250 taken")
