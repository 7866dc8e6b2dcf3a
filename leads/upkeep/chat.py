"""Notices to chats and phones, by Apprise, which knows more than a hundred services."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from leads.plain import number_of
from leads.upkeep.notice import Notice, NoticeError, PartlyError

_MISSING = "FRONTDESK_ALERT_URLS needs a package that is not here. Run: pip install 'frontdesk[alerts]'"


@dataclass(frozen=True, slots=True)
class Chat:
    """urls: as Apprise writes them, separated by spaces or commas; they hold keys."""

    urls: str = field(repr=False)

    name = "Apprise"

    def send(self, notice: Notice) -> str:
        """Send it. Returns what became of it, in a sentence; raises NoticeError when somebody will not get it."""
        services = self.services()
        # One by one: together it is not told which of them failed.
        failed = [one.service_name for one in services if not _taken(one, notice)]
        if failed:
            some = len(failed) < len(services)
            told = f"Not taken by {', '.join(map(str, failed))}, of the services in FRONTDESK_ALERT_URLS."
            raise (PartlyError if some else NoticeError)(told)
        return f"Taken by {number_of(len(services), 'service', 'services')}."

    def services(self) -> Any:
        """What stands behind the addresses. Raises NoticeError when one is not understood; nothing is sent."""
        try:
            import apprise  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise NoticeError(_MISSING) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses, and those hold keys
        services = apprise.Apprise()
        if not services.add(self.urls):
            raise NoticeError("FRONTDESK_ALERT_URLS holds an address that Apprise does not understand.")
        return services


def _taken(service: Any, notice: Notice) -> bool:
    import apprise  # noqa: PLC0415 - as above

    way = apprise.Apprise(service)
    return bool(way.notify(title=notice.subject, body=notice.text, body_format=apprise.NotifyFormat.TEXT))
