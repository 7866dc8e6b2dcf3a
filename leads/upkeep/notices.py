"""Telling people: what has begun and what is over in one message, and every morning how all stands.

A round asks `leads.store.alerts` what nobody was told yet, sends it, and writes down that it was told. What could not
be sent stays untold, so it is tried again; the desk says so meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.orm import Session

from leads.store import alerts, tasks
from leads.store.alerts import Condition, Pending
from leads.store.models import Site
from leads.store.queries.lists import sites
from leads.store.scope import keep_to
from leads.store.session import Database
from leads.upkeep import wording
from leads.upkeep.notice import Channel, Notice, NoticeError, UnreachableError

log = structlog.get_logger()

_AGAIN = timedelta(minutes=5)  # after a notice could not be sent; also what a process may take to send one
_GIVEN_UP = timedelta(days=2)  # a daily summary would have been tried meanwhile

Writer = Callable[[Session], Notice | None]  # of the website that the session is kept to


class Post(NamedTuple):
    """A notice on its way. name: as in “Notices by e-mail”."""

    name: str
    channel: Channel
    notice: Notice


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where notices go. public_url: of the desk. digest_at: hour of the daily summary, None without one. keep: how long
    after the last enquiry a person is forgotten; zero: never. mail_to: by which those are reached who are told of their
    own website alone, None without a mail server.
    """

    channels: Sequence[Channel]
    public_url: str
    digest_at: int | None
    keep: timedelta = timedelta()
    mail_to: Callable[[Sequence[str]], Channel] | None = None

    def tell(self, database: Database) -> None:
        """Send what nobody was told yet, and the daily summary when it is due."""
        if not self.channels:
            _forget_failures(database)
            return
        with database.read() as session:
            now = database.now(session)
            due = _has_something(alerts.pending(session, now)) or self._summary_is_due(session, now)
        if not due or not _take(database, now):
            return
        with database.read() as session:
            pending = alerts.pending(session, now)
            news = wording.news(session, pending, self.public_url)
            summary = self._summary(session, now) if self._summary_is_due(session, now) else None
        sent = news is None or self._send(database, news, lambda session: self._news(session, now), pending)
        if sent and summary:
            sent = self._send(database, summary, lambda session: self._summary(session, now), None)
        if sent:
            with database.write() as session:
                tasks.due_now(session, "notices", database.now(session))

    def _send(self, database: Database, notice: Notice, write: Writer, told: Pending | None) -> bool:
        """Send one notice by every channel, and to each website's own people what `write` makes of it; write down what
        was told. False: by none of the channels it could be sent."""
        posts = [Post(channel.name, channel, notice) for channel in self.channels]
        posts += self._to_websites(database, write)
        failed = _failures(posts)
        sent = any(channel.name not in failed for channel in self.channels)
        with database.write() as session:
            now = database.now(session)
            untried = {_to(site) for site in sites(session) if site.alert_emails} - {post.name for post in posts}
            failed |= {a.subject: a.sentence for a in alerts.open_alerts(session, ["mail"]) if a.subject in untried}
            alerts.settle(session, [Condition("mail", *failure) for failure in failed.items()], ["mail"], now)
            if sent and told:
                alerts.tell(session, told, now)
            elif sent:
                tasks.done(session, "digest", now)
        log.info("notice", sent=sent, failed=sorted(failed))
        return sent

    def _to_websites(self, database: Database, write: Writer) -> list[Post]:
        if self.mail_to is None:
            return []
        with database.read() as session:
            told = [site for site in sites(session) if site.alert_emails]
        posts = []
        for site in told:
            with database.read() as session:
                keep_to(session, [site.id])
                notice = write(session)
            if notice:
                posts.append(Post(_to(site), self.mail_to(site.alert_emails), notice))
        return posts

    def _news(self, session: Session, now: datetime) -> Notice | None:
        return wording.news(session, alerts.pending(session, now), self.public_url)

    def _summary(self, session: Session, now: datetime) -> Notice:
        return wording.summary(session, now, self.public_url, self.keep)

    def _summary_is_due(self, session: Session, now: datetime) -> bool:
        if self.digest_at is None:
            return False
        ran = tasks.ran_at(session, "digest")
        return ran is not None and ran < _last_time(now, self.digest_at, wording.usual(session))


def _forget_failures(database: Database) -> None:
    """Where nobody is to be told any more, nothing is broken; another process may still have ways of its own."""
    with database.write() as session:
        now, tried = database.now(session), tasks.ran_at(session, "notices")
        if tried is not None and tried < now - _GIVEN_UP:
            alerts.settle(session, [], ["mail"], now)


def _has_something(pending: Pending) -> bool:
    return bool(pending.begun or pending.over)


def _take(database: Database, now: datetime) -> bool:
    """Whether this process is the one that sends now. After a failure nobody is, for a while."""
    with database.write() as session:
        return tasks.claim(session, "notices", now, _AGAIN)


def _to(site: Site) -> str:
    return f"e-mail to {site.name}"


def _failures(posts: Sequence[Post]) -> dict[str, str]:
    """Send them. Returns what could not be sent, by the name of its way, with the reason."""
    failed, away = dict[str, str](), False
    for name, channel, notice in posts:
        if away and name != channel.name:  # a website's own: the mail server does not answer
            continue
        try:
            channel.send(notice)
        except NoticeError as error:
            failed[name] = f"Notices by {name} cannot be sent: {error}"
            away = away or isinstance(error, UnreachableError)
    return failed


def _last_time(now: datetime, hour: int, zone: ZoneInfo) -> datetime:
    """When this hour of the day was last."""
    local = now.astimezone(zone)
    # fold: the hour that comes twice when clocks are set back counts once.
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    return today if today <= local else today - timedelta(days=1)
