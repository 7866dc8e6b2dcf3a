"""Notices by e-mail and chat, on real sockets: what arrives, and what is said when nothing does."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leads.upkeep import mail
from leads.upkeep.chat import Chat
from leads.upkeep.mail import Mail
from leads.upkeep.notice import Notice, NoticeError, PartlyError, UnreachableError
from tests.mailserver import MailServer

NOTICE = Notice(
    "Frontdesk: 1 thing\nneeds attention", "“Hübners CRM” has a problem.\n.\nThe desk: http://desk.example\n"
)


def writer(server: MailServer, **more: Any) -> Mail:
    values: dict[str, Any] = {"user": "frontdesk", "password": "s3cret", "security": "none"} | more
    to = ["ops@clinic.example", "it@agency.example"]
    return Mail("127.0.0.1", server.port, sender="frontdesk@clinic.example", to=to, **values)


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_PATIENCE", 0.5)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "mail.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.fixture
def certificate(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_what_arrives() -> None:
    with MailServer() as server:
        assert writer(server).send(NOTICE) == "The mail server took it for 2 addresses."
    found = server.mails[0]
    assert found["To"] == "ops@clinic.example, it@agency.example"
    assert found["Subject"] == "Frontdesk: 1 thing needs attention"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Message-ID"].endswith("@clinic.example>")
    assert found.get_content().replace("\r\n", "\n").strip() == NOTICE.text.strip()
    assert "AUTH" in server.commands


def test_an_address_that_is_refused_is_named_and_the_others_get_it() -> None:
    with MailServer(refuse={"rcpt TO:<it@agency.example>": "550 nobody here"}) as server:
        with pytest.raises(PartlyError) as caught:
            writer(server).send(NOTICE)
        assert len(server.mails) == 1
    assert str(caught.value) == "The mail server refuses it@agency.example."


def test_without_a_user_nobody_signs_in() -> None:
    with MailServer() as server:
        writer(server, user="").send(NOTICE)
    assert "AUTH" not in server.commands


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_protected_way(
    security: str, certificate: ssl.SSLContext, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailServer(certificate=certificate, tls=security == "tls") as server:
        with pytest.raises(NoticeError, match="no valid certificate"):
            writer(server, security=security).send(NOTICE)
        assert "AUTH" not in server.commands, "the password is not told to whom we do not trust"
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        writer(server, security=security).send(NOTICE)
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("refuse", "sentence"),
    [
        ({"AUTH": "535 no s3cret frontdesk"}, "does not accept the user and password (code 535)"),
        ({"MAIL": "553 not you"}, "refuses FRONTDESK_SMTP_FROM (code 553)"),
        ({"RCPT": "550 nobody here"}, "refuses every address (code 550)"),
        ({"DATA": "554 looks like spam"}, "does not take it (code 554)"),
        ({"EHLO": "500 what", "HELO": "500 what"}, "does not take it (code 500)"),
    ],
)
def test_a_refusal_is_told_in_words_of_ours(refuse: dict[str, str], sentence: str) -> None:
    with MailServer(refuse=refuse) as server, pytest.raises(NoticeError) as caught:
        writer(server).send(NOTICE)
    assert sentence in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert server.mails == []


def test_what_the_server_says_at_the_end_does_not_matter() -> None:
    with MailServer(refuse={"QUIT": "500 what"}) as server:
        writer(server).send(NOTICE)
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("security", "sentence"), [("starttls", "does not offer what was asked for"), ("tls", "does not speak TLS")]
)
def test_a_server_that_cannot_protect_the_way(security: str, sentence: str) -> None:
    with MailServer() as server, pytest.raises(NoticeError, match=sentence):
        writer(server, security=security).send(NOTICE)
    assert "AUTH" not in server.commands


def test_a_server_that_hangs() -> None:
    with MailServer(hang=True) as server, pytest.raises(UnreachableError, match="does not answer in time"):
        writer(server).send(NOTICE)


def test_no_server_at_all() -> None:
    with MailServer() as server:
        pass
    with pytest.raises(NoticeError, match="cannot be reached"):
        writer(server).send(NOTICE)


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(8, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(NoticeError, match="cannot be found: check FRONTDESK_SMTP_HOST"):
        Mail("mail.invalid", 25, "none", "", "", "a@b.example", ["c@d.example"]).send(NOTICE)


def test_a_password_that_smtp_cannot_carry() -> None:
    with MailServer() as server, pytest.raises(NoticeError, match="letters that it cannot take"):
        writer(server, password="pässwörd").send(NOTICE)


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(Mail("h", 25, "none", "u", "s3cret", "a@b.example", []))
    assert "s3cret" not in repr(Chat("json://u:s3cret@h"))


@pytest.fixture
def receiver() -> Iterator[Callable[[int], tuple[str, list[dict[str, str]]]]]:
    """Starts a service that answers Apprise with this status. Returns its address and what came."""
    servers: list[HTTPServer] = []

    def start(status: int) -> tuple[str, list[dict[str, str]]]:
        came: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"json://u:key-s3cret@127.0.0.1:{server.server_port}", came

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# One of Apprise's many modules asks for something that Python is going to drop.
_APPRISE = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


@_APPRISE
def test_a_chat_gets_it(receiver: Any) -> None:
    address, came = receiver(200)
    assert Chat(address).send(NOTICE) == "Taken by 1 service."
    assert came[0]["title"] == NOTICE.subject
    assert "“Hübners CRM” has a problem." in came[0]["message"]


@_APPRISE
def test_a_chat_that_does_not_take_it(receiver: Any, caplog: pytest.LogCaptureFixture) -> None:
    address, _ = receiver(403)
    with pytest.raises(NoticeError, match="Not taken by JSON, of the services") as caught:
        Chat(address).send(NOTICE)
    assert not isinstance(caught.value, PartlyError)
    with pytest.raises(NoticeError, match="does not understand"):
        Chat("nonsense://s3cret").send(NOTICE)
    assert "s3cret" not in caplog.text


@_APPRISE
def test_a_chat_that_takes_it_beside_one_that_does_not(receiver: Any) -> None:
    (works, came), (broken, _) = receiver(200), receiver(403)
    with pytest.raises(PartlyError, match="Not taken by JSON"):
        Chat(f"{broken} {works}").send(NOTICE)
    assert len(came) == 1


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(NoticeError, match=r"pip install 'frontdesk\[alerts\]'"):
        Chat("json://h").send(NOTICE)
