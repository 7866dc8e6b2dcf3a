"""The web program on the wire: whoever sends slowly, sends too much or goes away half-way harms nobody else."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import func, select

from leads.decode import MAX_BODY
from leads.store.models import Event, Site, Unreadable
from leads.store.sites import hook_token
from leads.web import IdleReaper
from tests.factory import make_site
from tests.posts import enquiry
from tests.programs import Programs, free_port, wait_for

TURNS = 2
HEAD = "POST /api/v1/consultations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Programs]:
    """The web program, which works on two requests at the same time."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "frontdesk.sqlite3").write_bytes(sqlite_template.read_bytes())
    with Programs(folder, f"sqlite:///{folder}/frontdesk.sqlite3", web_threads=str(TURNS)) as started:
        make_site(started.database)
        started.web()
        yield started


def _connect(programs: Programs, head: str, body: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", programs.port), timeout=30)
    sock.sendall((HEAD + head + "\r\n").encode() + body)
    return sock


def _count(programs: Programs, kind: type[Event] | type[Unreadable]) -> int:
    with programs.database.read() as session:
        return session.scalar(select(func.count()).select_from(kind)) or 0


def test_whoever_sends_slowly_holds_up_nobody(programs: Programs) -> None:
    body = json.dumps(enquiry(1, 1)).encode()
    slow = [_connect(programs, f"Content-Length: {len(body)}\r\n", body[:10]) for _ in range(10 * TURNS)]
    quick = requests.post(
        f"{programs.url}/api/v1/consultations", json=enquiry(2, 2), timeout=30
    )  # half of a slow one's patience
    assert quick.status_code == 201
    slow[0].sendall(body[10:])
    assert slow[0].recv(4096).startswith(b"HTTP/1.1 201")
    for sock in slow:
        sock.close()


def test_a_body_that_is_too_long_is_told_so_and_not_read_to_its_end(programs: Programs) -> None:
    chunk = b"10000\r\n" + b"z" * 0x10000 + b"\r\n"
    for head, body in (
        ("Content-Length: 104857600\r\n", b""),
        (f"Content-Length: {MAX_BODY + 1}\r\n", b"z" * (MAX_BODY + 1)),
        ("Transfer-Encoding: chunked\r\n", chunk * 2),
    ):
        with _connect(programs, head, body) as sock:
            answer = sock.recv(4096).decode().lower()
            assert answer.startswith("http/1.1 413")
            assert "application/problem+json" in answer


def test_a_body_in_chunks_without_a_length_is_taken(programs: Programs) -> None:
    body = json.dumps(enquiry(3, 3)).encode()
    with _connect(programs, "Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 201")


def test_what_breaks_off_half_way_is_not_taken_for_what_was_meant(programs: Programs) -> None:
    body = json.dumps(enquiry(4, 4)).encode()
    events = _count(programs, Event)
    with _connect(programs, f"Content-Length: {len(body)}\r\n", body[:-1]) as sock:
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)
    assert requests.post(f"{programs.url}/api/v1/consultations", json=enquiry(5, 5), timeout=30).status_code == 201
    assert (_count(programs, Event), _count(programs, Unreadable)) == (events + 1, 0)


@pytest.mark.parametrize("path", ["/api/v1/consultations", "/f/demo/consultation", "HOOK"])
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"site": "demo", "id": "cut", "email": "ada@example.com', 400),
        ("application/x-www-form-urlencoded", b"first_name=Cut&email=ada@example.co", 411),
        ("text/plain", b"first_name=Cut&email=ada@example.co", 411),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="email"\r\n\r\nada@example.co',
            400,
        ),
    ],
)
@pytest.mark.parametrize("size", [0, 99])
def test_what_breaks_off_in_chunks_is_no_enquiry(
    programs: Programs, path: str, kind: str, body: bytes, status: int, size: int
) -> None:
    if path == "HOOK":
        with programs.database.read() as session:
            path = f"/hooks/demo/{hook_token(programs.vault, session.scalars(select(Site)).one())}"
        status = 200 if status == 400 else status  # it is kept for a person
    elif "/api/" in path and "multipart" in kind:
        status = 415  # it takes none
    events = _count(programs, Event)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", programs.port), timeout=30) as sock:
        sock.sendall(head.encode() + b"%x\r\n%b" % (len(body) + size, body) + (b"" if size else b"\r\n"))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(4096).startswith(b"HTTP/1.1 %d" % status)
    assert _count(programs, Event) == events


def test_it_does_not_say_which_server_it_is(programs: Programs) -> None:
    for path in ("/healthz", "/desk/static/desk.css", "/nowhere"):
        answer = requests.get(programs.url + path, timeout=30)
        assert answer.headers.get("Server", "") == ""


def test_what_stands_in_an_address_goes_into_no_log(programs: Programs) -> None:
    with programs.database.read() as session:
        token = hook_token(programs.vault, session.scalars(select(Site)).one())
    answers = [
        requests.request(method, f"{programs.url}/hooks/demo/{key}?{query}", timeout=30).status_code
        for method in ("GET", "POST")
        for key in (token, "wrong")
        for query in ("email=quiet@example.com", "name=Quiet", "name=Quiet&more=" + "x" * 70_000)
    ]
    assert {*answers[:2], *answers[6:8]} == {200}
    log = (programs.folder / "programs.log").read_text(encoding="utf-8").casefold()
    assert "quiet" not in log
    assert token not in log


def test_a_connection_on_which_nothing_moves_is_closed_and_no_other_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as other:
        still, foreign = (socket.create_connection(server.getsockname(), timeout=30) for server in (ours, other))
        accepted, untouched = ours.accept()[0], other.accept()[0]
        patience = [60.0]
        reaper = IdleReaper(ours.getsockname()[1], lambda: patience[0])
        reaper.reap()
        accepted.sendall(b"x")  # it is younger than the patience
        assert still.recv(1) == b"x"
        patience[0] = 0.2
        time.sleep(0.3)
        reaper.reap()
        assert still.recv(1) == b""
        untouched.sendall(b"x")
        assert foreign.recv(1) == b"x"
        for sock in (still, foreign, accepted, untouched):
            sock.close()


def test_the_end_is_quick_and_finishes_what_is_in_flight(programs: Programs) -> None:
    port = free_port()
    process = programs.start("leads", "web", port=str(port))
    wait_for(lambda: process.poll() is not None or _listens(port))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        body = json.dumps(enquiry(6, 6)).encode()
        sock.sendall((HEAD + f"Content-Length: {len(body)}\r\n\r\n").encode() + body[:-1])
        time.sleep(0.2)
        process.terminate()
        time.sleep(0.2)
        sock.sendall(body[-1:])
        assert sock.recv(4096).startswith(b"HTTP/1.1 201")
    assert process.wait(30) == 0
    log = (programs.folder / "programs.log").read_text(encoding="utf-8")
    told = [json.loads(line)["event"] for line in log.splitlines() if f'"port": {port}' in line]
    assert told == ["web started", "web stopped"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
