"""What a notice is, and what a way to send it looks like."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class NoticeError(Exception):
    """A notice could not be sent. The text says why, in a sentence without a secret."""


class UnreachableError(NoticeError):
    """Nobody answers there: whatever else is to go that way cannot be sent either just now."""


class PartlyError(NoticeError):
    """Some have it and others will not get it: it was sent, and is not sent again."""


class Notice(NamedTuple):
    """Plain text. Counts, names of sites and connections, and their sentences; nothing personal."""

    subject: str
    text: str


class Channel(Protocol):
    """A way to reach people. name: as in “Notices by e-mail”."""

    @property
    def name(self) -> str: ...

    def send(self, notice: Notice) -> str:
        """Send it. Returns what became of it, in a sentence; raises NoticeError when somebody will not get it."""
        ...
