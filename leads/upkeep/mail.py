"""Notices by e-mail, over the clinic's own mail server."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from leads.plain import number_of
from leads.upkeep.notice import Notice, NoticeError, PartlyError, UnreachableError

_PATIENCE = 10.0  # seconds that the mail server may take for each of its answers


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail server and whom it writes to. security: starttls, tls or none."""

    host: str
    port: int
    security: str
    user: str
    password: str = field(repr=False)
    sender: str
    to: Sequence[str]

    name = "e-mail"

    def send(self, notice: Notice) -> str:
        """Send it. Returns what became of it, in a sentence; raises NoticeError when somebody will not get it."""
        try:
            refused = self._hand_over(self._message(notice))
        except (OSError, UnicodeError, smtplib.SMTPException) as error:
            cause = _cause(error)
            answered = isinstance(cause, smtplib.SMTPException | UnicodeError)
            raise (NoticeError if answered else UnreachableError)(_sentence(cause)) from None
        if refused:
            raise PartlyError(f"The mail server refuses {', '.join(sorted(refused))}.")
        return f"The mail server took it for {number_of(len(self.to), 'address', 'addresses')}."

    def _hand_over(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        server = self._connect()
        try:
            self._sign_in(server)
            refused: dict[str, tuple[int, bytes]] = server.send_message(message)
            with suppress(OSError, smtplib.SMTPException):
                server.quit()  # it has the message: how it says goodbye does not matter
        finally:
            server.close()
        return refused

    def _connect(self) -> smtplib.SMTP:
        here = self.sender.rpartition("@")[2]  # our own name would be looked up, which may take long
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, here, timeout=_PATIENCE, context=ssl.create_default_context())
        return smtplib.SMTP(self.host, self.port, here, timeout=_PATIENCE)

    def _sign_in(self, server: smtplib.SMTP) -> None:
        if self.security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if self.user:
            server.login(self.user, self.password)

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Subject"] = " ".join(notice.subject.split())
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # so that an absence note does not answer (RFC 3834)
        message.set_content(notice.text)
        return message


_CHECK = "check FRONTDESK_SMTP_SECURITY and FRONTDESK_SMTP_USER"
# The first that fits. Never what the server said: it may repeat what we sent.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (smtplib.SMTPAuthenticationError, "The mail server does not accept the user and password (code {code})."),
    (smtplib.SMTPRecipientsRefused, "The mail server refuses every address (code {code})."),
    (smtplib.SMTPSenderRefused, "The mail server refuses FRONTDESK_SMTP_FROM (code {code})."),
    (smtplib.SMTPResponseException, "The mail server does not take it (code {code})."),
    (smtplib.SMTPNotSupportedError, f"The mail server does not offer what was asked for: {_CHECK}."),
    (smtplib.SMTPException, "The mail server hung up."),
    (ssl.SSLError, "The mail server has no valid certificate, or does not speak TLS on this port."),
    (TimeoutError, "The mail server does not answer in time."),
    (socket.gaierror, "The mail server cannot be found: check FRONTDESK_SMTP_HOST."),
    (UnicodeError, "The user or password at the mail server has letters that it cannot take."),
    (OSError, "The mail server cannot be reached."),
)


def _cause(error: Exception) -> Exception:
    """What it was: smtplib calls a time-out a hanging up."""
    behind = error.__context__ if isinstance(error, smtplib.SMTPServerDisconnected) else None
    return behind if isinstance(behind, OSError) else error


def _sentence(error: Exception) -> str:
    code = getattr(error, "smtp_code", "")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = min(code for code, _ in error.recipients.values())
    return next(sentence for kind, sentence in _SENTENCES if isinstance(error, kind)).format(code=code)
