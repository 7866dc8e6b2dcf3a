"""What people should be told: from the signs to conditions, in plain words. Pure; no personal data goes in or out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta

from leads.plain import days_until, enquiries, number_of, span
from leads.store.alerts import Condition
from leads.store.backup import OLD
from leads.store.queries.balance import DayBalance
from leads.store.queries.overview import is_silent
from leads.store.queries.places import Need
from leads.store.queries.signs import Load, Rhythm, Signs, subject_of
from leads.store.queries.unreadable import Unseen

KINDS = (
    *("late", "connection", "worker", "canary", "silence", "balance"),
    *("needs_you", "unreadable", "page", "sign_in", "backup"),
)
# About one false alarm in a hundred weeks, of each site and kind; a fixed chance for each gap alone would bring a busy
# site one every day.
_RARE = math.log(100)
_IN_GOOD_TIME = timedelta(days=14)
_LEARNED = 2  # weeks that have to be known
_RECENTLY = timedelta(days=7)  # a page that has sent nothing since is no news

_THE_DESK_TELLS = "The desk tells why, and what helps."
EACH_NIGHT = "Make one each night: frontdesk db backup FILE"
EVENTS = {"consultation_request": "consultation requests", "call_click": "taps on “Call us”"}
_NO_WORKER = (
    "The sync is not running: nothing goes to a CRM. What comes in is safe and waits. "
    "Start it on the server with “frontdesk worker”."
)


def conditions(signs: Signs, after: timedelta) -> list[Condition]:
    """All that is not as it should be. after: how long an enquiry may wait."""
    return [
        *_worker(signs),
        *(condition for load in signs.loads for condition in _connection(load)),
        *(condition for need in signs.needs for condition in _needs_you(need)),
        *(condition for load in signs.loads for condition in _sign_in(load, signs)),
        *(condition for load in signs.loads for condition in _late(load, signs, after)),
        *_nowhere(signs, after),
        *_canary(signs),
        *(condition for rhythm in signs.rhythms for condition in _silence(rhythm, signs)),
        *unbalanced(signs.balances),
        *map(_unreadable, signs.unreadable),
        *_foreign(signs),
        *_to_erase(signs),
        *_copy(signs),
    ]


def _worker(signs: Signs) -> Iterator[Condition]:
    if signs.loads and is_silent(signs.worker_seen_at, signs.now):
        yield Condition("worker", "worker", _NO_WORKER)


def _connection(load: Load) -> Iterator[Condition]:
    connection = load.connection
    if connection.state == "failing":
        safe = "What comes in is kept, and sent once it works."
        sentence = f"{_name(load)} has a problem: {connection.sentence or 'it does not work.'} {safe}"
        yield Condition("connection", str(connection.id), sentence, connection.id)


def _needs_you(need: Need) -> Iterator[Condition]:
    """Apart, or one that has waited for its consent for long would hide that a CRM has begun to refuse everything."""
    connection_id = need.connection.id
    if refused := need.number - need.held:
        sentence = f"{enquiries(refused, 'needs', 'need')} a person: {_name(need)} did not take {_it(refused)}."
        yield Condition("needs_you", str(connection_id), f"{sentence} {_THE_DESK_TELLS}", connection_id)
    if need.held:
        sentence = f"{enquiries(need.held, 'needs', 'need')} a person before {_name(need)} gets {_it(need.held)}."
        yield Condition("needs_you", f"{connection_id} held", f"{sentence} {_THE_DESK_TELLS}", connection_id)


def _sign_in(load: Load, signs: Signs) -> Iterator[Condition]:
    """In good time. Once it has ended, the CRM itself says so, and the connection has a problem."""
    ends_at = load.connection.sign_in_ends_at
    if ends_at is None or ends_at - signs.now >= _IN_GOOD_TIME:
        return
    days = days_until(ends_at, signs.now)
    if days is None and load.connection.state == "failing":
        return
    told = f"lets us in for a short time only: its key or sign-in ends {days}"
    sentence = f"{_name(load)} {told if days else 'may let us in no longer: its key or sign-in has ended'}."
    what = "Sign in again or enter a new key on the connection's page."
    yield Condition("sign_in", str(load.connection.id), f"{sentence} {what}", load.connection.id)


def _late(load: Load, signs: Signs, after: timedelta) -> Iterator[Condition]:
    """Only while nothing else explains it: a fault of the connection and a silent worker are told by themselves."""
    connection = load.connection
    if load.oldest is None or connection.state != "working" or signs.worker_since is None:
        return
    waited = signs.now - max(load.oldest, connection.state_since, signs.worker_since)
    if waited > after:
        late, longest = enquiries(load.waiting, "waits", "wait"), span(signs.now - load.oldest)
        sentence = f"{late} for {_name(load)}, the first for {longest}. {connection.sentence or ''}"
        yield Condition("late", str(connection.id), sentence.strip(), connection.id)


def _nowhere(signs: Signs, after: timedelta) -> Iterator[Condition]:
    for wait in signs.without_connection:
        site = wait.site
        if site and wait.reason == "no_connection" and signs.now - wait.oldest > after:
            safe = enquiries(wait.number, "is safe here and goes", "are safe here and go")
            yield Condition("late", site.key, f"{safe} nowhere: {wait.sentence}")
        if site and wait.reason == "no_consent":
            some = enquiries(wait.number, "needs", "need")
            told = f"{some} a person before a CRM gets {_it(wait.number)}: {site.name}. {_THE_DESK_TELLS}"
            yield Condition("late", f"{site.key} no_consent", told)


def _canary(signs: Signs) -> Iterator[Condition]:
    for run, site in signs.canaries:
        if run.state == "failed":
            sentence = f"The test enquiry of {site.name} did not come through. {run.sentence or ''}"
            yield Condition("canary", site.key, sentence.strip())


def _silence(rhythm: Rhythm, signs: Signs) -> Iterator[Condition]:
    what = f"{rhythm.site.name} has sent no {EVENTS[rhythm.kind]} for"
    if rhythm.last is None and rhythm.told:
        yield Condition("silence", rhythm.subject, f"{what} more than a month. Please try its pages.")
    elif rhythm.last is not None and is_unusual(rhythm):
        usual = round(sum(rhythm.usual) / len(rhythm.usual))
        sentence = f"{what} {span(signs.now - rhythm.last)}; about {usual} would be usual. Please try its pages."
        yield Condition("silence", rhythm.subject, sentence)


def is_unusual(rhythm: Rhythm) -> bool:
    """Whether nothing has come for so long that chance hardly explains it.

    If n came in the same span of k weeks, none comes in one more by a chance of (k / (k + 1)) to the power of n. A busy
    site has more gaps in a week in which that may happen, so more is asked of each.
    """
    weeks = len(rhythm.usual)
    if weeks < _LEARNED:
        return False
    surprise = sum(rhythm.usual) * math.log((weeks + 1) / weeks)
    return surprise >= _RARE + math.log(max(rhythm.weekly, 1))


def unbalanced(days: Iterable[DayBalance]) -> Iterator[Condition]:
    """Those of these days that do not close."""
    for day in days:
        if not day.closes:
            lost = f"{enquiries(day.unaccounted)} of {day.captured:,}"
            date = f"{day.day.day} {day.day:%B %Y}"
            sentence = f"The balance of {day.site.name} on {date} does not close: {lost} not accounted for."
            yield Condition("balance", subject_of(day), sentence)


def _unreadable(unseen: Unseen) -> Condition:
    """Only what a form plugin sent: anyone may send rubbish to the open form."""
    them = "it" if unseen.number == 1 else "them"
    what = f"{number_of(unseen.number, 'message')} of {unseen.site.name} could not be understood, and went to no CRM"
    why = f"its form plugin sent {them}; perhaps a field of the form was renamed. The desk shows what was sent."
    return Condition("unreadable", unseen.site.key, f"{what}: {why}")


def _foreign(signs: Signs) -> Iterator[Condition]:
    """Once for each website, and without the page's address: anyone may claim to send from any page."""
    recent = [one for one in signs.foreign if signs.now - one.latest < _RECENTLY]
    for site in {one.site.id: one.site for one in recent}.values():
        number = sum(one.number for one in recent if one.site.id == site.id)
        told = f"{number:,} enquiries came from a page that is not among the addresses of {site.name}, and are held"
        what = "If it is the clinic's, none of them reaches a CRM: the desk tells which page it is, and what to do."
        yield Condition("page", site.key, f"{told}. {what}")


def _to_erase(signs: Signs) -> Iterator[Condition]:
    if number := signs.to_erase:
        some, verb = number_of(number, "record"), "stands" if number == 1 else "stand"
        sentence = f"{some} of people who were erased on request still {verb} in a CRM. The desk tells why."
        yield Condition("needs_you", "erasure", sentence)


def _copy(signs: Signs) -> Iterator[Condition]:
    """Only where copies are made by us: whoever makes them in another way is not known here."""
    if signs.copied_at is not None and signs.now - signs.copied_at > OLD:
        yield Condition("backup", "backup", f"{how_old(signs.now - signs.copied_at)} {EACH_NIGHT}")


def how_old(copy: timedelta) -> str:
    """The last copy's age in a sentence."""
    return f"The last copy of the database is {span(copy)} old."


def _it(number: int) -> str:
    return "it" if number == 1 else "them"


def _name(of: Load | Need) -> str:
    return f"“{of.connection.name}” ({of.site.name})"
