"""Telling people: what has begun and what is over in one message, and every morning how all stands.

A round asks `leads.store.alerts` what nobody was told yet, sends it, and writes down that it was told. What could not
be sent stays untold, so it is tried again; the desk says so meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from leads.upkeep.notice import Channel, Notice, NoticeError, PartlyError, UnreachableError

log = structlog.get_logger()

_AGAIN = timedelta(minutes=5)  # after a notice could not be sent; also what a process may take to send one
_GIVEN_UP = timedelta(days=2)  # a daily summary would have been tried meanwhile

Writer = Callable[[Session], Notice | None]  # of the website that the session is kept to


class Post(NamedTuple):
    """A notice on its way. subject: of the alert where it cannot be sent. name: as in “Notices by e-mail”."""

    subject: str
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
        """Send what nobody was told yet, and the daily summary when it is due; then once more to those who are told of
        their own website alone, where a notice could not be sent."""
        if not self.channels:
            _forget_failures(database)
            return
        self._tell(database)
        if self.mail_to is not None:
            self._catch_up(database)

    def _tell(self, database: Database) -> None:
        with database.read() as session:
            now = database.now(session)
            due = _has_something(alerts.pending(session, now)) or self._summary_is_due(session, now)
        if not due or not _take(database, "notices", now):
            return
        with database.read() as session:
            summary = self._summary(session, now) if self._summary_is_due(session, now) else None
        with database.read() as session:  # after what takes long: it has to stand when it is sent
            pending = alerts.pending(session, now)
            news = wording.news(session, pending, self.public_url)
        sent = news is None or self._send(database, news, lambda session: self._their_news(session, pending), pending)
        if sent and summary:
            sent = self._send(database, summary, lambda session: self._summary(session, now), None)
        if sent:
            with database.write() as session:
                tasks.due_now(session, "notices", database.now(session))

    def _send(self, database: Database, notice: Notice, write: Writer, told: Pending | None) -> bool:
        """Send one notice by every channel and, once one has taken it, to each website's own people what `write` makes
        of it; write down what was told. False: by none of the channels it could be sent."""
        tried = _posted([Post(channel.name, channel.name, channel, notice) for channel in self.channels])
        sent = not all(tried[channel.name] for channel in self.channels)
        with database.write() as session:
            now = database.now(session)
            if sent and told:
                alerts.tell(session, told, now)
            elif sent:
                tasks.done(session, "digest", now)
        if sent:  # only now: they would be told the same again
            tried |= _posted(self._to_websites(database, write))
        self._settle(database, tried)
        log.info("notice", sent=sent, failed=sorted(subject for subject, reason in tried.items() if reason))
        return sent

    def _catch_up(self, database: Database) -> None:
        """Tell how all stands with their website to those whom a notice could not reach."""
        with database.read() as session:
            now = database.now(session)
            known = set(map(_subject_of, _told_alone(session)))
            broken = alerts.open_alerts(session, ["mail"])
        unreached = known.intersection(alert.subject for alert in broken if alert.began_at <= now - _AGAIN)
        if not unreached or not _take(database, "unreached", now):
            return
        posts = self._to_websites(database, self._standing)
        tried = _posted([post for post in posts if post.subject in unreached])
        # Where nothing is wrong any more, nobody has to be told.
        self._settle(database, dict.fromkeys(unreached, "") | tried)

    def _settle(self, database: Database, tried: Mapping[str, str]) -> None:
        """Open or end alerts on ways to send. tried: by subject, why it failed; empty where it was sent."""
        failed = [Condition("mail", subject, sentence) for subject, sentence in tried.items() if sentence]
        with database.write() as session:
            known = {*(channel.name for channel in self.channels), *map(_subject_of, _told_alone(session))}
            known |= set(map(_to_some, known))
            alerts.settle(session, failed, ["mail"], database.now(session), but=known - tried.keys())

    def _to_websites(self, database: Database, write: Writer) -> list[Post]:
        if self.mail_to is None:
            return []
        with database.read() as session:
            told = _told_alone(session)
        posts = []
        for site in told:
            with database.read() as session:
                keep_to(session, [site.id])
                notice = write(session)
            if notice:
                to = self.mail_to(site.alert_emails)
                posts.append(Post(_subject_of(site), f"e-mail to {site.name}", to, notice))
        return posts

    def _their_news(self, session: Session, pending: Pending) -> Notice | None:
        return wording.news(session, alerts.of_these(session, pending), self.public_url)

    def _standing(self, session: Session) -> Notice | None:
        return wording.news(session, Pending(alerts.open_alerts(session), []), self.public_url)

    def _summary(self, session: Session, now: datetime) -> Notice:
        return wording.summary(session, now, self.public_url, self.keep)

    def _summary_is_due(self, session: Session, now: datetime) -> bool:
        if self.digest_at is None:
            return False
        ran = tasks.ran_at(session, "digest")
        return ran is not None and ran < _last_time(now, self.digest_at, wording.usual(sites(session)))


def _forget_failures(database: Database) -> None:
    """Where nobody is to be told any more, nothing is broken; another process may still have ways of its own."""
    with database.write() as session:
        now, tried = database.now(session), tasks.ran_at(session, "notices")
        if tried is not None and tried < now - _GIVEN_UP:
            alerts.settle(session, [], ["mail"], now)


def _has_something(pending: Pending) -> bool:
    return bool(pending.begun or pending.over)


def _take(database: Database, task: str, now: datetime) -> bool:
    """Whether this process is the one that sends now. After a failure nobody is, for a while."""
    with database.write() as session:
        return tasks.claim(session, task, now, _AGAIN)


def _told_alone(session: Session) -> list[Site]:
    """The websites of which somebody is told of that one alone."""
    return [site for site in sites(session) if site.alert_emails]


def _subject_of(site: Site) -> str:
    return f"e-mail to {site.key}"


def _to_some(subject: str) -> str:
    """Of the alert that some do not get what is sent that way: apart, since those who did are not told it again."""
    return f"{subject} (to some)"


def _posted(posts: Sequence[Post]) -> dict[str, str]:
    """Send them. Returns by subject why it could not be sent; empty where it was, if only to some."""
    tried, away = dict[str, str](), ""
    for subject, name, channel, notice in posts:
        try:
            if not away:
                channel.send(notice)
            tried[subject] = away and f"Notices by {name} cannot be sent: {away}"
            if not away:
                tried[_to_some(subject)] = ""
        except PartlyError as error:
            tried |= {subject: "", _to_some(subject): f"Notices by {name} do not reach everybody: {error}"}
        except NoticeError as error:
            tried[subject] = f"Notices by {name} cannot be sent: {error}"
            # Whatever else goes to websites goes by the same mail server.
            away = str(error) if isinstance(error, UnreachableError) and subject != channel.name else ""
    return tried


def _last_time(now: datetime, hour: int, zone: ZoneInfo) -> datetime:
    """When this hour of the day was last."""
    local = now.astimezone(zone)
    # fold: the hour that comes twice when clocks are set back counts once.
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    return today if today <= local else today - timedelta(days=1)
