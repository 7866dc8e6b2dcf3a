"""What notices say: what has begun and what is over, and every morning how all stands. A session that is kept to one
website reads nothing of the others, so what it writes may go to that website's own people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from leads.plain import enquiries, number_of, stands
from leads.store import alerts
from leads.store.alerts import Pending
from leads.store.models import Alert, Connection, Site
from leads.store.queries.balance import DayBalance, balance, last_days
from leads.store.queries.lists import sites, usual_zone
from leads.store.queries.overview import number_resubmitted
from leads.store.queries.places import number_at
from leads.store.queries.unreadable import number_unseen, number_unseen_before
from leads.store.retention import count_old, notice_period
from leads.upkeep.alerts import EVENTS, unbalanced
from leads.upkeep.notice import Notice

_PAGES = {"unreadable": "/desk/unreadable", "page": "/desk/"}  # kind of an alert → where more of it is shown
_HELD = {"no_consent": "for want of consent", "spam": "since it looks like spam"}
# What was, now that it is over: {what} is what the alert's subject ends with.
OVER = {
    "late": "enquiries waited for too long.",
    "connection": "it did not work.",
    "worker": "the sync was not running.",
    "canary": "the test enquiry did not come through.",
    "silence": "no {what} had come for unusually long.",
    "balance": "the balance of {what} did not close.",
    "needs_you": "something needed a person.",
    "unreadable": "messages could not be understood.",
    "page": "a page that is not among its addresses sent enquiries.",
    "sign_in": "a sign-in or key was about to end.",
    "backup": "the last copy of the database was old.",
    "mail": "notices by {what} could not be sent.",
}


class Look(NamedTuple):
    """How many of what wait for somebody to look at them, and where that is done."""

    number: int
    what: str


class Place(NamedTuple):
    """What an alert is about. site: None where it is no website alone. words: the website or its connection, with a
    colon."""

    site: Site | None = None
    words: str = ""


def trial(site: Site | None = None) -> Notice:
    """To see whether notices arrive. site: for those who are told of it alone."""
    of = f" of {site.name}" if site else ""
    what = f"Here you are told when enquiries{of} do not arrive, and every morning how all stands."
    return Notice(f"{_sender([site])}: a test", f"This is a test. {what}\n")


def news(session: Session, pending: Pending, public_url: str) -> Notice | None:
    """Of what has begun and what is over, and then of what is not; None where nothing is. public_url: of the desk."""
    if not (pending.begun or pending.over):
        return None
    known = sites(session)
    begun, over = (_placed(session, some, known) for some in pending)
    left = _left(session, pending, [place.site for _, place in over], known)
    about = known if len(known) == 1 else [place.site for _, place in (*begun, *over)]
    one = _the_one(about)
    zone = ZoneInfo(one.time_zone) if one else usual(known)
    parts = [
        *(_begun(alert, zone, public_url) for alert, _ in begun),
        *(f"Over since {_moment(alert.ended_at, zone)}: {place.words}{_was(alert)}\n" for alert, place in over),
        *(["\n".join(["What is still wrong:", *(_wrong(alert, zone) for alert in left), ""])] if left else []),
        _desk(public_url),
    ]
    return Notice(f"{_sender(about)}: {_subject(pending, len(left))}", "\n".join(parts))


def summary(session: Session, now: datetime, public_url: str, keep: timedelta) -> Notice:
    """Of yesterday, what is wrong now, and what waits for a look. keep: as the `Notifier` has it."""
    known = sites(session)
    days = [balance(session, site, last_days(site, now, 2)[:1], now)[0] for site in known]
    standing, zone = alerts.open_alerts(session), usual(known)
    wrong = [_wrong(alert, zone) for alert in standing]
    told = {alert.subject for alert in standing}
    wrong += [f"- {found.sentence}" for found in unbalanced(days) if found.subject not in told]
    text = ["Yesterday:", *(f"- {_described(day)}" for day in days), ""]
    text += ["What is wrong now:", *wrong, ""] if wrong else ["Nothing is wrong now.", ""]
    looks = _looks(session, public_url)
    text += ["Waiting for a look:", *(f"- {number:,} {what}" for number, what in looks), ""] if looks else []
    text += _to_be_forgotten(session, keep, now)
    subject = number_of(len(wrong), "thing is", "things are") + " wrong" if wrong else _wait(looks)
    return Notice(f"{_sender(known)}: yesterday, and {subject}", "\n".join([*text, _desk(public_url)]))


def usual(known: Sequence[Site]) -> ZoneInfo:
    """The time zone in which what is about several websites is told."""
    return ZoneInfo(usual_zone(known))


def _begun(alert: Alert, zone: ZoneInfo, public_url: str) -> str:
    see = f"See: {public_url}{_PAGES[alert.kind]}\n" if alert.kind in _PAGES else ""
    return f"{alert.sentence}\n{see}Since {_moment(alert.began_at, zone)}.\n"


def _left(session: Session, pending: Pending, over: Sequence[Site | None], known: Sequence[Site]) -> list[Alert]:
    """What goes on, told or not, at the websites of which something is over: or all would seem well there. What is of
    no website concerns all of them."""
    if not over:
        return []
    standing = [alert for alert in alerts.open_alerts(session) if alert not in pending.begun]
    placed = _placed(session, standing, known)
    return [alert for alert, place in placed if place.site is None or {None, place.site} & {*over}]


def _placed(session: Session, some: Sequence[Alert], known: Sequence[Site]) -> list[tuple[Alert, Place]]:
    return [(alert, _place(session, alert, known)) for alert in some]


def _place(session: Session, alert: Alert, known: Sequence[Site]) -> Place:
    site = alerts.site_of(session, alert, known)
    if site is None:
        return Place()
    if alert.connection_id is None:
        return Place(site, f"{site.name}: ")
    return Place(site, f"“{session.get_one(Connection, alert.connection_id).name}” ({site.name}): ")


def _wrong(alert: Alert, zone: ZoneInfo) -> str:
    return f"- {alert.sentence} Since {_moment(alert.began_at, zone)}."


def _was(alert: Alert) -> str:
    what = alert.subject if alert.kind == "mail" else alert.subject.rpartition(" ")[2]
    return OVER[alert.kind].format(what=EVENTS.get(what, what)) if alert.kind in OVER else alert.sentence


def _the_one(about: Sequence[Site | None]) -> Site | None:
    """The website that all is about, if it is one."""
    return about[0] if len({site and site.id for site in about}) == 1 else None


def _sender(about: Sequence[Site | None]) -> str:
    """Frontdesk, and for which website where all is about one: who looks after many sees whose notice it is."""
    one = _the_one(about)
    return f"Frontdesk, {one.name}" if one else "Frontdesk"


def _subject(pending: Pending, left: int) -> str:
    begun, over = len(pending.begun), len(pending.over)
    if not begun:
        still = f", but {number_of(left, 'thing still needs', 'things still need')} attention" if left else ""
        return f"{'it is' if over == 1 else f'{over} things are'} over{still}"
    return f"{number_of(begun, 'thing needs', 'things need')} attention"


def _moment(moment: datetime | None, zone: ZoneInfo) -> str:
    local = (moment or datetime.now(UTC)).astimezone(zone)
    return f"{local.day} {local:%b, %H:%M} {local.tzname()}"


def _desk(public_url: str) -> str:
    return f"The desk: {public_url}/desk/\n"


def _looks(session: Session, public_url: str) -> list[Look]:
    """What is no fault, and still nobody may have got an answer."""
    found = [
        Look(number_at(session, "spam"), f"held as suspected spam: {public_url}/desk/leads?state=spam"),
        Look(number_resubmitted(session), f"sent again with other answers: {public_url}/desk/"),
        Look(number_unseen(session), f"could not be understood: {public_url}/desk/unreadable"),
    ]
    return [look for look in found if look.number]


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


def _described(day: DayBalance) -> str:
    """A day's balance in a sentence."""
    told = f"{day.site.name}: {enquiries(day.captured)}" + (f": {stands(day.states)}." if day.captured else ".")
    return told if day.closes else f"{told} {day.unaccounted:,} not accounted for: the day does not close."
