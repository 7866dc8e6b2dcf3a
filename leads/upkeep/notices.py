"""Telling people: what has begun and what is over in one message, and every morning how all stands.

A round asks `leads.store.alerts` what nobody was told yet, sends it, and writes down that it was told. What could not
be sent stays untold, so it is tried again; the desk says so meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.orm import Session

from leads.plain import enquiries, number_of, stands
from leads.store import alerts, tasks
from leads.store.alerts import Condition, Pending
from leads.store.models import Alert, Connection, Site
from leads.store.queries.balance import DayBalance, balance, last_days
from leads.store.queries.lists import sites, usual_zone
from leads.store.queries.overview import number_resubmitted
from leads.store.queries.places import SPAM, number_at
from leads.store.queries.unreadable import number_unseen, number_unseen_before
from leads.store.retention import count_old, notice_period
from leads.store.scope import keep_to
from leads.store.session import Database
from leads.upkeep.alerts import EVENTS, unbalanced
from leads.upkeep.notice import Channel, Notice, NoticeError, UnreachableError

log = structlog.get_logger()

_AGAIN = timedelta(minutes=5)  # after a notice could not be sent; also what a process may take to send one
_GIVEN_UP = timedelta(days=2)  # a daily summary would have been tried meanwhile
_PAGES = {"unreadable": "/desk/unreadable"}  # kind of an alert → where more of it is shown
_HELD = {"no_consent": "for want of consent", "spam": "since it looks like spam"}
_OF_A_SITE = ("late", "canary", "silence", "balance", "unreadable")  # their subject begins with its key
# What was, now that it is over: {what} is what the alert's subject ends with.
_OVER = {
    "late": "enquiries waited for too long.",
    "connection": "it did not work.",
    "worker": "the sync was not running.",
    "canary": "the test enquiry did not come through.",
    "silence": "no {what} had come for unusually long.",
    "balance": "the balance of {what} did not close.",
    "needs_you": "something needed a person.",
    "unreadable": "messages could not be understood.",
    "sign_in": "a sign-in or key was about to end.",
    "backup": "the last copy of the database was old.",
    "mail": "notices by {what} could not be sent.",
}
TEST = Notice("Frontdesk: a test", "This is a test. Notices of Frontdesk reach you.\n")


Writer = Callable[[Session], Notice | None]  # of the website that the session is kept to


class Post(NamedTuple):
    """A notice on its way. name: as in “Notices by e-mail”."""

    name: str
    channel: Channel
    notice: Notice


class Look(NamedTuple):
    """How many of what wait for somebody to look at them, and where that is done."""

    number: int
    what: str


class Place(NamedTuple):
    """What an alert is about. site: None where it is no website alone. words: the website or its connection, with a
    colon."""

    site: Site | None = None
    words: str = ""


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
            due = _has_something(alerts.pending(session, now)) or self._digest_is_due(session, now)
        if not due or not _take(database, now):
            return
        with database.read() as session:
            pending = alerts.pending(session, now)
            news = self._notice(session, pending)
            summary = self._digest(session, now) if self._digest_is_due(session, now) else None
        sent = news is None or self._send(database, news, partial(self._news, now=now), pending)
        if sent and summary:
            sent = self._send(database, summary, partial(self._digest, now=now), None)
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
        return self._notice(session, alerts.pending(session, now))

    def _notice(self, session: Session, pending: Pending) -> Notice | None:
        if not _has_something(pending):
            return None
        known, zone = sites(session), _zone(session)
        begun, over = ([(alert, _place(session, alert, known)) for alert in some] for some in pending)
        parts = [
            *(self._begun(alert, zone) for alert, _ in begun),
            *(f"Over since {_moment(alert.ended_at, zone)}: {place.words}{_was(alert)}\n" for alert, place in over),
            self._desk(),
        ]
        about = known if len(known) == 1 else [place.site for _, place in (*begun, *over)]
        return Notice(f"{_sender(about)}: {_subject(pending)}", "\n".join(parts))

    def _looks(self, session: Session) -> list[Look]:
        """What is no fault, and still nobody may have got an answer."""
        desk = f"{self.public_url}/desk"
        found = [
            Look(number_at(session, SPAM), f"held as suspected spam: {desk}/leads?state=spam"),
            Look(number_resubmitted(session), f"sent again with other answers: {desk}/"),
            Look(number_unseen(session), f"could not be understood: {desk}/unreadable"),
        ]
        return [look for look in found if look.number]

    def _begun(self, alert: Alert, zone: ZoneInfo) -> str:
        see = f"See: {self.public_url}{_PAGES[alert.kind]}\n" if alert.kind in _PAGES else ""
        return f"{alert.sentence}\n{see}Since {_moment(alert.began_at, zone)}.\n"

    def _desk(self) -> str:
        return f"The desk: {self.public_url}/desk/\n"

    def _digest_is_due(self, session: Session, now: datetime) -> bool:
        if self.digest_at is None:
            return False
        ran = tasks.ran_at(session, "digest")
        return ran is not None and ran < _last_time(now, self.digest_at, _zone(session))

    def _digest(self, session: Session, now: datetime) -> Notice:
        days = [balance(session, site, last_days(site, now, 2)[:1], now)[0] for site in sites(session)]
        standing, zone = alerts.open_alerts(session), _zone(session)
        wrong = [f"- {alert.sentence} Since {_moment(alert.began_at, zone)}." for alert in standing]
        told = {alert.subject for alert in standing}
        wrong += [f"- {found.sentence}" for found in unbalanced(days) if found.subject not in told]
        text = ["Yesterday:", *(f"- {describe(day)}" for day in days), ""]
        text += ["What is wrong now:", *wrong, ""] if wrong else ["Nothing is wrong now.", ""]
        looks = self._looks(session)
        text += ["Waiting for a look:", *(f"- {number:,} {what}" for number, what in looks), ""] if looks else []
        text += _to_be_forgotten(session, self.keep, now)
        subject = number_of(len(wrong), "thing is", "things are") + " wrong" if wrong else _wait(looks)
        return Notice(f"{_sender(sites(session))}: yesterday, and {subject}", "\n".join([*text, self._desk()]))


def _wait(looks: Sequence[Look]) -> str:
    """How all stands where nothing is wrong."""
    number = sum(look.number for look in looks)
    return f"{number:,} {'waits' if number == 1 else 'wait'} for a look" if number else "all is well"


def _to_be_forgotten(session: Session, keep: timedelta, now: datetime) -> list[str]:
    """Whom nobody has decided on, in good time: a real person may be among them."""
    if not keep:
        return []
    soon = notice_period(keep)
    found = count_old(session, now - keep + soon).undecided
    told = [
        f"- {number_of(found[code], 'person', 'people')} held {why}" for code, why in _HELD.items() if code in found
    ]
    if unread := number_unseen_before(session, now - keep + soon):
        told.append(f"- {number_of(unread, 'message')} that could not be understood, and nobody has seen")
    within = f"Within {number_of(soon.days, 'day')} these are forgotten, if nobody decides on them before:"
    return [within, *told, ""] if told else []


def describe(day: DayBalance) -> str:
    """A day's balance in a sentence."""
    told = f"{day.site.name}: {enquiries(day.captured)}" + (f": {stands(day.states)}." if day.captured else ".")
    return told if day.closes else f"{told} {day.unaccounted:,} not accounted for: the day does not close."


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


def _place(session: Session, alert: Alert, known: Sequence[Site]) -> Place:
    if alert.connection_id is not None:
        connection = session.get_one(Connection, alert.connection_id)
        site = session.get_one(Site, connection.site_id)
        return Place(site, f"“{connection.name}” ({site.name}): ")
    key = alert.subject.partition(" ")[0] if alert.kind in _OF_A_SITE else None
    return next((Place(site, f"{site.name}: ") for site in known if site.key == key), Place())


def _was(alert: Alert) -> str:
    what = alert.subject.rpartition(" ")[2]
    return _OVER[alert.kind].format(what=EVENTS.get(what, what)) if alert.kind in _OVER else alert.sentence


def _sender(about: Sequence[Site | None]) -> str:
    """Frontdesk, and for which website where all is about one: who looks after many sees whose notice it is."""
    one = about[0] if len({site and site.id for site in about}) == 1 else None
    return f"Frontdesk, {one.name}" if one else "Frontdesk"


def _subject(pending: Pending) -> str:
    begun, over = len(pending.begun), len(pending.over)
    if not begun:
        return f"{'it is' if over == 1 else f'{over} things are'} over"
    return f"{number_of(begun, 'thing needs', 'things need')} attention"


def _zone(session: Session) -> ZoneInfo:
    return ZoneInfo(usual_zone(sites(session)))


def _moment(moment: datetime | None, zone: ZoneInfo) -> str:
    local = (moment or datetime.now(UTC)).astimezone(zone)
    return f"{local.day} {local:%b, %H:%M} {local.tzname()}"


def _last_time(now: datetime, hour: int, zone: ZoneInfo) -> datetime:
    """When this hour of the day was last."""
    local = now.astimezone(zone)
    # fold: the hour that comes twice when clocks are set back counts once.
    today = local.replace(hour=hour, minute=0, second=0, microsecond=0, fold=0)
    return today if today <= local else today - timedelta(days=1)
