"""A CRM that keeps to a script: the sandbox CRM at heart, with somebody in front of it who bends calls and answers.

Most scripts are played by a scripted transport, those about bytes by a server on a real socket.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import responses

from sandbox_crm.app import create_app
from sandbox_crm.faults import Faults
from sandbox_crm.house import House
from sandbox_crm.store import Store
from tests.chaos.virtual import Clock

KEY = "canary-strange-key"
SCRIPTED = "https://crm.test"
_WHATS = {
    "/v1/contacts/batch/upsert": "contacts",
    "/v1/activities/batch/upsert": "activities",
    "/v1/search": "search",
    "/v1/me": "check",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """error: what happens on the wire instead of an answer. raw: sent on the socket as it is, with `pause` real
    seconds between its pieces, then the connection is closed. quiet: seconds for which nobody may call again."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    raw: Iterable[bytes] | None = None
    pause: float = 0
    quiet: float | None = None

    def json(self) -> Any:
        return json.loads(self.body)

    def saying(self, value: Any, **more: Any) -> Reply:
        """The same with another body."""
        return replace(self, body=json.dumps(value).encode(), **more)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the CRM. what: contacts, activities, search, check, or message for a webhook."""

    crm: Crm
    what: str
    path: str
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}

    def honest(self) -> Reply:
        """Do what was asked, and answer as a good CRM does."""
        return self.crm.do(self)

    def later(self, seconds: float) -> None:
        """Do what was asked, but so much later."""
        self.crm.pending.append((self.crm.clock() + timedelta(seconds=seconds), self))

    def forget(self) -> Reply:
        """Answer as a good CRM does, and keep nothing."""
        self.crm.house.switchboard.turn_to(Faults(("accept_and_forget",)))
        try:
            return self.honest()
        finally:
            self.crm.house.switchboard.turn_to(Faults())

    def names(self, email: str) -> bool:
        """Whether it is about this person, or about what this person did."""
        rows = self.json().get("inputs", ()) if self.what in ("contacts", "activities") else ()
        known = self.crm.id_of(email)
        return email.encode() in self.body or bool(known and any(one.get("contact_id") == known for one in rows))


Script = Callable[[Call], Reply | None]


@dataclass(slots=True)
class Crm:
    """One account at a strange CRM. left: calls that it will still misbehave in; a call that its script lets pass
    (None) does not count. poison: the e-mail of the one person it dislikes. unique: whether it has unique keys.
    awaited: whether work is waiting whenever it asked for quiet, so that it is called as soon as that is over."""

    name: str
    script: Script
    left: float
    clock: Clock
    dice: Random
    poison: str
    unique: bool = True
    awaited: bool = True
    pending: list[tuple[Any, Call]] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    arrived: dict[str, Any] = field(default_factory=dict)  # event → when it was first kept
    messages: dict[str, Any] = field(default_factory=dict)  # of a webhook: id → what was told
    quiet_until: Any = None
    has_more: bool = True  # what was to be written then is due at once; what was to be read back may be due later
    memory: dict[str, Any] = field(default_factory=dict)  # a script's own
    house: House = field(init=False)
    _client: Any = field(init=False)

    def __post_init__(self) -> None:
        app = create_app(Store(), KEY)
        self.house, self._client = app.extensions["house"], app.test_client()
        self.house.store.unique = self.unique

    def answer(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Answer one call by the script, or honestly once the script is over."""
        self._note_call()
        call = Call(self, _WHATS.get(path, "message"), path, body, headers)
        reply = self.script(call) if self.left > 0 else None
        if reply is None:
            return call.honest()
        self.left -= 1
        if reply.quiet is not None:
            self.quiet_until = self.clock() + timedelta(seconds=reply.quiet)
            self.has_more = call.what != "search"
        return reply

    def _note_call(self) -> None:
        now = self.clock()
        self.calls.append(now)
        if self.quiet_until is None:
            return
        early = (self.quiet_until - now).total_seconds()
        if early > 0:
            self.broken.append(f"called {early:g} s before Retry-After was over")
        elif early < -5 and self.awaited and self.has_more:
            self.broken.append(f"called only {-early:g} s after Retry-After was over, though work was waiting")
        self.quiet_until = None

    def do(self, call: Call) -> Reply:
        if call.what == "message":
            return self._take_message(call)
        shown = {"Authorization": call.headers.get("Authorization", "")}
        answer = self._client.open(call.path, method="POST" if call.body else "GET", data=call.body, headers=shown)
        for row in (answer.get_json(silent=True) or {}).get("results", ()) if call.what == "activities" else ():
            self.arrived.setdefault(row["external_id"], self.clock())
        return Reply(answer.status_code, answer.get_data(), {"Content-Type": answer.content_type or ""})

    def _take_message(self, call: Call) -> Reply:
        told = json.loads(call.body)
        if told["type"] != "frontdesk.test":
            self.messages[call.headers["webhook-id"]] = told["data"]
            self.arrived.setdefault(told["data"]["event"]["id"], self.clock())
        return Reply(204, b"")

    def catch_up(self) -> None:
        """Do what was put off until now."""
        due = [call for at, call in self.pending if at <= self.clock()]
        self.pending = [one for one in self.pending if one[0] > self.clock()]
        for call in due:
            self.do(call)

    def contacts(self) -> list[dict[str, Any]]:
        return self.house.store.newest()

    def id_of(self, email: str) -> str | None:
        """The record of the person with this e-mail address."""
        return next((one["id"] for one in self.contacts() if one["properties"].get("email") == email), None)


@contextmanager
def scripted(crms: Mapping[str, Crm]) -> Iterator[None]:
    """Answer calls to `SCRIPTED/NAME/...` without a network; let calls to this machine through."""

    def answer(request: Any) -> Any:
        name, _, path = request.path_url.removeprefix("/").partition("/")
        reply = crms[name].answer("/" + path, request.body or b"", request.headers)
        return reply.error or (reply.status, dict(reply.headers), reply.body)

    with responses.RequestsMock(assert_all_requests_are_fired=False) as world:
        world.add_passthru("http://127.0.0.1")
        for method in ("GET", "POST"):
            world.add_callback(method, re.compile(re.escape(SCRIPTED)), answer, content_type=None)
        yield


@contextmanager
def on_sockets(crms: Mapping[str, Crm]) -> Iterator[str]:
    """Serve them on a real socket, one request for each connection. Gives the address; a name is the first folder."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve_one, args=(connection, crms), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for crm in crms.values():
        crm.house.store.close()


def _serve_one(connection: socket.socket, crms: Mapping[str, Crm]) -> None:
    with connection, suppress(OSError), connection.makefile("rb") as stream:
        connection.settimeout(10)
        target = stream.readline().split()[1].decode()
        headers = dict(line.decode().strip().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
        body = stream.read(int(headers.get("Content-Length", 0)))
        name, _, path = target.removeprefix("/").partition("/")
        for piece in _pieces(reply := crms[name].answer("/" + path, body, headers)):
            connection.sendall(piece)
            time.sleep(reply.pause)


def _pieces(reply: Reply) -> Iterable[bytes]:
    if reply.raw is not None:
        return reply.raw
    head = f"HTTP/1.1 {reply.status} Thus\r\nContent-Length: {len(reply.body)}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    return [head.encode() + b"\r\n" + reply.body]
