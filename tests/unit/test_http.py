"""`Http` against real sockets: what a stranger's server can do to us, and what we refuse to do for it."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.errors import DeliveryError, Misconfigured, Refused, Throttled, TryLater, Unknown
from integrations.core.http import (
    LARGEST_ANSWER,
    LARGEST_DESCRIPTION,
    Answer,
    Http,
    parse_retry_after,
    raise_for_status,
)
from integrations.core.sockets import Call, is_public

Script = Callable[[socket.socket], None]


@contextmanager
def server(script: Script) -> Iterator[str]:
    """A server that reads one request per connection and then does what the script says. Gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the client goes away, as some tests want
                connection.settimeout(30)
                read_request(connection)
                script(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    stopped.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=30)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return data


def reply(status: str = "200 OK", body: bytes = b"{}", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def client(**options: Any) -> Http:
    return Http(allowed_private_hosts=frozenset({"127.0.0.1"}), **options)


def failure(method: str, url: str, http: Http | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        (http or client(deadline=0.4)).request(method, url, json={"name": "Zebedee"} if method == "POST" else None)
    return caught.value


def test_an_answer_is_read_whole_and_its_headers_in_any_case() -> None:
    with server(lambda to: to.sendall(reply("207 Multi-Status", b'{"a": 1}', "X-Left: 7"))) as url:
        answer = client().request("POST", url, json={})
    assert (answer.status, answer.json(), answer.headers["x-LEFT"]) == (207, {"a": 1}, "7")


def test_a_kept_alive_connection_serves_the_next_call() -> None:
    connections = []

    def twice(to: socket.socket) -> None:
        connections.append(to)
        to.sendall(reply())
        read_request(to)
        to.sendall(reply(body=b"[2]"))

    with server(twice) as url:
        http = client()
        http.request("GET", url)
        assert http.request("GET", url).json() == [2]
    assert len(connections) == 1


def test_the_pace_is_asked_before_each_call() -> None:
    asked: list[float] = []
    closing = reply("200 OK", b"{}", "Connection: close")  # as the server does: else the second call may meet its end
    with server(lambda to: to.sendall(closing)) as url:
        http = client(before_call=lambda: asked.append(time.monotonic()))
        http.request("GET", url)
        http.request("GET", url)
    assert len(asked) == 2


def silent(to: socket.socket) -> None:
    to.recv(1)  # until the client gives up


def drip_head(to: socket.socket) -> None:
    for byte in reply(body=b"x" * 500):
        to.sendall(bytes([byte]))
        time.sleep(0.02)


def drip_body(to: socket.socket) -> None:
    to.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")  # no length: a cut must not look like the end
    for _ in range(500):
        to.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("script", [silent, drip_head, drip_body])
@pytest.mark.parametrize(("method", "verdict"), [("POST", Unknown), ("GET", TryLater)])
def test_the_deadline_holds_for_everything_together(script: Script, method: str, verdict: type) -> None:
    with server(script) as url:
        began = time.monotonic()
        error = failure(method, url)
    assert (type(error), error.code) == (verdict, "timeout")
    assert error.sentence == "The CRM did not answer within 0.4 seconds."
    assert time.monotonic() - began < 8, "it waits for the end, which comes after ten seconds"


def test_each_call_has_a_deadline_of_its_own() -> None:
    """One thread looks after all of them: a short one that begins after a long one is not kept waiting for that."""
    failures = []
    with server(drip_body) as slow, server(drip_body) as quick:
        long = threading.Thread(target=lambda: failures.append(failure("GET", slow, client(deadline=4))))
        long.start()
        time.sleep(0.1)
        short = failure("GET", quick, client(deadline=0.3))
        assert failures == []
        long.join()
    assert [error.sentence for error in (short, *failures)] == [
        "The CRM did not answer within 0.3 seconds.",
        "The CRM did not answer within 4 seconds.",
    ]


def test_a_search_by_post_is_no_unknown_outcome() -> None:
    with server(silent) as url, pytest.raises(TryLater, match="timeout"):
        client(deadline=0.3).request("POST", url, json={}, reads=True)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "cut"),
        (b"HTTP/1.1 20", "cut"),
        (reply(body=b'{"id": ', length=500), "cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cut"),
        (b"SSH-2.0-OpenSSH\r\n", "cut"),
        (reply("200 OK", b"not gzip", "Content-Encoding: gzip"), "unreadable"),
        (reply("200 OK", gzip.compress(bytes(200 * LARGEST_ANSWER)), "Content-Encoding: gzip"), "too_big"),
        (reply(body=b"x" * (LARGEST_ANSWER + 1)), "too_big"),
    ],
)
@pytest.mark.parametrize(("method", "verdict"), [("POST", Unknown), ("GET", TryLater)])
def test_a_broken_answer(raw: bytes, code: str, method: str, verdict: type) -> None:
    with server(lambda to: to.sendall(raw)) as url:
        error = failure(method, url, client(deadline=30))
    assert (type(error), error.code) == (verdict, code)


def test_an_answer_of_exactly_the_limit_is_taken() -> None:
    with server(lambda to: to.sendall(reply(body=b"x" * LARGEST_ANSWER))) as url:
        assert len(client().request("GET", url).body) == LARGEST_ANSWER


def test_what_a_crm_tells_of_its_fields_may_be_longer() -> None:
    with server(lambda to: to.sendall(reply(body=b"x" * LARGEST_DESCRIPTION))) as url:
        assert len(client().request("GET", url, describes=True).body) == LARGEST_DESCRIPTION
    longer = reply(body=b"x" * (LARGEST_DESCRIPTION + 1))
    with server(lambda to: to.sendall(longer)) as url, pytest.raises(TryLater, match="more than 8 MiB"):
        client().request("GET", url, describes=True)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(TryLater, match="unreadable"):
        Answer(200, {}, body).json()
    with pytest.raises(Unknown, match="unreadable"):
        Answer(200, {}, body, wrote=True).json()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str) -> None:
    with server(lambda to: to.sendall(reply(status, b"", "Location: http://127.0.0.1:1/"))) as url:
        error = failure("POST", url)
    assert (type(error), error.code) == (Misconfigured, "redirected")


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure("POST", f"http://127.0.0.1:{port}/")
    assert (type(error), error.code) == (TryLater, "connect")


def test_a_connection_that_is_never_taken() -> None:
    with socket.socket() as listener:  # the one place in its queue is taken, so the next connection hangs
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):
            error = failure("POST", f"http://127.0.0.1:{address[1]}/", client(connect_timeout=0.2))
    assert (type(error), error.code) == (TryLater, "connect")


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))

    def shake_hands(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands, args=[listener])
        thread.start()
        error = failure("POST", f"https://127.0.0.1:{listener.getsockname()[1]}/", client())
        thread.join()
    assert (type(error), error.code) == (TryLater, "tls")


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    return file


def test_a_handshake_that_never_ends_was_not_sent() -> None:
    with server(silent) as url:
        error = failure("POST", url.replace("http:", "https:"))
    assert isinstance(error, TryLater)


@pytest.fixture
def _busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine notices a deadline late."""

    def late(call: Call) -> None:
        time.sleep(0.3)
        expire(call)

    expire = Call.expire
    monkeypatch.setattr(Call, "expire", late)


@pytest.mark.usefixtures("_busy")
def test_it_was_not_sent_though_the_deadline_is_noticed_late() -> None:
    test_a_handshake_that_never_ends_was_not_sent()


@pytest.mark.usefixtures("_busy")
def test_an_answer_that_does_not_go_on_is_late_and_not_cut() -> None:
    def begin(to: socket.socket) -> None:
        to.sendall(reply(body=b"{", length=2))
        to.recv(1)  # until the client gives up

    with server(begin) as url:
        assert failure("GET", url).code == "timeout"


def test_the_name_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure("POST", "https://crm.example/")
    assert (type(error), error.code) == (TryLater, "dns")


def test_a_name_server_that_stays_silent_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: silent.wait(20))
    began = time.monotonic()
    error = failure("POST", "https://crm.example/")
    silent.set()
    assert time.monotonic() - began < 15
    assert (type(error), error.code) == (TryLater, "dns"), "nothing was sent, so it need not be looked up"


@pytest.mark.parametrize(
    "url", ["https://", "ftp://crm.example/", "https://u:p@crm.example/", "https://[::1/", "crm", ""]
)
def test_an_address_that_is_none(url: str) -> None:
    error = failure("GET", url)
    assert isinstance(error, Misconfigured)
    assert error.code in ("bad_url", "insecure_url")


def test_plain_http_only_where_the_configuration_allows_the_host() -> None:
    assert failure("GET", "http://crm.example/").code == "insecure_url"
    with server(lambda to: to.sendall(reply())) as url:
        port = url.rsplit(":", 1)[1].strip("/")
        assert Http(allowed_private_hosts=frozenset({f"127.0.0.1:{port}"})).request("GET", url).status == 200
        assert failure("GET", url, Http(allowed_private_hosts=frozenset({"127.0.0.1:1"}))).code == "insecure_url"


PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "192.0.0.1",  # noqa: S104 - nothing is bound
    "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::",
    "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "104.18.0.1", "2606:4700::6810:1", "2a00:1450:4001::1"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


ODD_FORMS = ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "localhost"]


@pytest.mark.parametrize("host", ODD_FORMS)
def test_odd_ways_to_write_this_machine_reach_nothing(host: str) -> None:
    reached: list[bytes] = []
    with server(lambda _: reached.append(b"a request")) as url:
        port = url.rsplit(":", 1)[1]
        error = failure("POST", f"https://{host}:{port}")
    assert (type(error), error.code) == (Misconfigured, "private_address")
    assert reached == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"]])
def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    looked_up: list[str] = []

    def stub(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in a], socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", stub)
    assert failure("POST", "https://crm.example/").code == "private_address"
    assert looked_up == ["crm.example"]


def test_the_name_is_looked_up_once_and_that_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda to: to.sendall(reply())) as url:
        port = int(url.rsplit(":", 1)[1].strip("/"))
        answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]])
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: next(answers))
        http = Http(allowed_private_hosts=frozenset({"inside.example"}))
        assert http.request("GET", f"http://inside.example:{port}/").status == 200


def test_nothing_of_the_machine_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    heard: list[bytes] = []

    def script(to: socket.socket) -> None:
        to.sendall(reply("200 OK", b"{}", "Set-Cookie: a=b", "Connection: close"))

    def listen(to: socket.socket) -> bytes:
        heard.append(original(to))
        return heard[-1]

    original = read_request
    monkeypatch.setattr(f"{__name__}.read_request", listen)
    with server(script) as url:
        http = client()
        http.request("GET", url, headers={"Authorization": "Bearer ours"})
        http.request("GET", url, headers={"Authorization": "Bearer ours"})
    assert len(heard) == 2
    assert all(b"Authorization: Bearer ours" in request and b"Cookie" not in request for request in heard)


def test_no_failure_carries_what_was_sent() -> None:
    with server(lambda to: to.sendall(b"")) as url:
        error = failure("POST", url)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert failure("GET", "https://crm.example/\r\nX: y") is not None
    with pytest.raises(Misconfigured) as caught:
        client().request("GET", "https://127.0.0.1/", headers={"Authorization": "Bearer se\ncret"})
    assert "cret" not in repr(caught.value)


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (300, Misconfigured, "redirected"), (400, Refused, "refused"), (401, Misconfigured, "bad_key"),
        (403, Misconfigured, "forbidden"),
        (404, Misconfigured, "not_found"), (405, Misconfigured, "not_found"), (408, TryLater, "unavailable"),
        (410, Misconfigured, "not_found"), (414, Misconfigured, "too_long"), (431, Misconfigured, "too_long"),
        (422, Refused, "refused"), (425, TryLater, "unavailable"),
        (429, Throttled, "too_many_requests"), (499, Unknown, "gateway"), (500, Unknown, "unavailable"),
        (502, Unknown, "gateway"), (503, Unknown, "unavailable"), (504, Unknown, "gateway"),
        (520, Unknown, "gateway"), (521, TryLater, "unavailable"), (522, Unknown, "gateway"),
        (523, TryLater, "unavailable"), (524, Unknown, "gateway"), (525, TryLater, "unavailable"),
        (526, TryLater, "unavailable"), (530, TryLater, "unavailable"), (599, Unknown, "unavailable"),
    ],
)  # fmt: skip
def test_a_bare_status(status: int, verdict: type[DeliveryError], code: str) -> None:
    with pytest.raises(verdict) as caught:
        raise_for_status(Answer(status, {}, b"", wrote=True))
    assert (caught.value.code, caught.value.status) == (code, status)


@pytest.mark.parametrize("status", [499, 500, 503, 504, 520])
def test_a_read_that_fails_is_no_unknown_outcome(status: int) -> None:
    with pytest.raises(TryLater):
        raise_for_status(Answer(status, {}, b""))


def test_who_asks_to_be_asked_again_has_done_nothing_yet() -> None:
    with pytest.raises(TryLater):
        raise_for_status(Answer(500, {"Retry-After": "7"}, b"", wrote=True))


@pytest.mark.parametrize("status", [200, 201, 204, 207])
def test_a_good_status_raises_nothing(status: int) -> None:
    raise_for_status(Answer(status, {}, b""))


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "number"),
    [("12", 12), ("999999999", 999_999_999), ("9" * 10, None), ("9" * 5000, None), ("-1", None), ("soon", None)],
)
def test_a_header_that_is_a_number(value: str, number: int | None) -> None:
    assert Answer(200, {"left": value}, b"").number("left") == number


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7), ("0", 0), (" 120 ", 120), ("1.5", 1.5), ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30), ("Mon, 23 Nov 2026 11:00:00 GMT", None), (None, None), ("", None),
        ("-5", None), ("soon", None), ("nan", None), ("1e9", None), ("9" * 5000, None), ("١٢", None),
        ("Mon, 99 Nov 2026 99:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_us(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


def test_a_busy_server_that_says_when_is_asked_again_then() -> None:
    with pytest.raises(Throttled) as caught:
        raise_for_status(Answer(503, {"Retry-After": "90"}, b""))
    assert (caught.value.code, caught.value.retry_after) == ("busy", 90)
