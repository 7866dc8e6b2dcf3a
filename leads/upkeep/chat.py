"""Notices to chats and phones, by Apprise, which knows more than a hundred services."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from leads.upkeep.notice import Notice, NoticeError

_MISSING = "FRONTDESK_ALERT_URLS needs a package that is not here. Run: pip install 'frontdesk[alerts]'"


@dataclass(frozen=True, slots=True)
class Chat:
    """urls: as Apprise writes them, separated by spaces or commas; they hold keys."""

    urls: str = field(repr=False)

    name = "Apprise"

    def send(self, notice: Notice) -> str:
        """Send it. Returns what became of it, in a sentence; raises NoticeError when somebody will not get it."""
        try:
            import apprise  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise NoticeError(_MISSING) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses, and those hold keys
        services = apprise.Apprise()
        if not services.add(self.urls):
            raise NoticeError("FRONTDESK_ALERT_URLS holds an address that Apprise does not understand.")
        if not services.notify(title=notice.subject, body=notice.text, body_format=apprise.NotifyFormat.TEXT):
            raise NoticeError("One of the services in FRONTDESK_ALERT_URLS did not take the notice.")
        return f"Taken by {len(services)} {'service' if len(services) == 1 else 'services'}."
