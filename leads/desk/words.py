"""States, reasons and times in words, the same on every page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers
from markupsafe import Markup

from leads import plain
from leads.fields import e164
from leads.store.consents import wording
from leads.store.models import Attempt, Connection, Delivery, Drift, Erasure
from leads.store.queries.journey import Again, EventStory
from leads.store.queries.leads import Standing
from leads.store.queries.places import MOST_COUNTED
from leads.sync.item import TITLES
from leads.sync.mapping import SOURCES, label_of

# Pages find all their words in one place.
number_of, enquiries, span, wording_of = plain.number_of, plain.enquiries, plain.span, wording
passed_over = plain.passed_over

ALL_WELL = "Tested: everything is as it should be."
TELL_AN_ADMIN = "Please tell an admin of this desk."  # what only they can mend
TOO_LATE = "Nothing was done: it has moved on meanwhile. Below is how it stands now."
CHANGED_MEANWHILE = (
    "Nothing was saved: it has been changed meanwhile. Below is how it is now; please change it once more."
)
GONE_MEANWHILE = "Nothing was done: what you chose is not there any more. Please choose again."


class Pill(NamedTuple):
    """A state as staff read it: an icon and words, and a tone (good, busy, look, bad, calm) for the colour."""

    icon: str
    text: str
    tone: str


EVENTS = TITLES  # staff read here what they read in the CRM

_STATES = {
    "waiting": Pill("…", "Waiting to be sent", "busy"),
    "sending": Pill("…", "Being sent", "busy"),
    "sent": Pill("✓", "Taken by the CRM", "good"),
    "confirmed": Pill("✓", "In the CRM", "good"),
    "refused": Pill("!", "Needs you: refused", "bad"),
    "expired": Pill("!", "Needs you: gave up", "bad"),
    "held": Pill("‖", "Held", "look"),
    "handled": Pill("✓", "Taken care of", "calm"),
    "erased": Pill("–", "Erased", "calm"),
}
_HELD = {
    "spam": Pill("?", "Held: looks like spam", "look"),
    "no_consent": Pill("!", "Needs you: no consent", "bad"),
    "paused": Pill("‖", "Held: connection paused", "calm"),
    "unknown_caller": Pill("‖", "Held: caller not known", "calm"),
    "removed": Pill("!", "Needs you: connection removed", "bad"),
}
_REFUSED = {
    "unknown_outcome": Pill("!", "Needs you: may have arrived", "bad"),
    "missing": Pill("!", "Needs you: not in the CRM", "bad"),
}
_DRIFTED = {
    "deleted": Pill("!", "Deleted in the CRM", "bad"),
    "duplicated": Pill("!", "In the CRM twice", "bad"),
}
_REPLACED = Pill("–", "Goes another way", "calm")
_BEING_CHECKED = Pill("✓", "In the CRM, being checked", "good")
# What becomes of one that is held, once its site has a connection: by the event's own reason.
UNCONNECTED = {
    "spam": "It is not sent when this site gets a connection: then it can be put aside, one by one or with all others.",
    "no_consent": "It is not sent when this site gets a connection, unless consent was given by then.",
}
_NOWHERE = Pill("‖", "Safe here, no CRM connected", "look")

TIERS = {
    "A": "The CRM keeps our own number on every record, so a second try can never make a second record.",
    "B": "Before a second try we look whether the first one arrived, so nothing stands there twice.",
    "C": "The CRM cannot tell us whether a broken-off try arrived. Such an enquiry is shown to you.",
}

# What became of a record in the CRM after it was seen there.
DRIFTS = {
    "deleted": "It is no longer in the CRM. It is not sent again by itself: somebody may have deleted it on purpose.",
    "duplicated": "The CRM has this person more than once. Please merge the records there.",
    "changed": "The record was changed in the CRM. That is normal where staff work with it.",
    "never_stored": "The CRM said that it took this, and did not keep it. We send it again by ourselves.",
}
DRIFTS_SETTLED = {
    "deleted": "It was no longer in the CRM for a while.",
    "duplicated": "The CRM had this person more than once for a while.",
    "changed": "The record was changed in the CRM.",
    "never_stored": "The CRM had said that it took this, and did not keep it. We sent it again.",
}

VERDICTS = {
    "sent": "Accepted by the CRM",
    "confirmed": "Seen in the CRM",
    "missing": "Not found in the CRM",
    "TryLater": "Did not work, tried again later",
    "Throttled": "The CRM asked us to wait",
    "Misconfigured": "The connection needs a repair",
    "Refused": "Refused by the CRM",
    "Unknown": "Broken off: it may have arrived",
    "Bug": "A mistake of Frontdesk",
}

ACTIONS = {
    "send_again": "sent it again",
    "not_spam": "said it is not spam",
    "consent_given": "said that consent was given",
    "sent_elsewhere": "sent it through another connection",
    "handled": "took care of it",
    "put_aside": "put it aside as spam",
    "corrected": "corrected it and sent it again",
    "connection_added": "added it",
    "connection_replaced": "changed its name, key or options.",
    "connection_changed": "changed how it is used.",
    "connection_paused": "paused it",
    "connection_resumed": "started it again",
    "connection_removed": "removed it",
    "connection_signed_in": "signed in at the CRM",
    "connection_check_all": "had everything checked",
    "mapping_changed": "changed what goes into it.",
    "details_revealed": "looked at the details of",
    "erase_again": "wanted it to be erased in the CRM again",
    "erase_by_hand": "erased it in the CRM by hand",
    "drift_right": "said that it is right so in the CRM",
}

_ERASURES = {
    "waiting": Pill("…", "Waiting to be erased there", "busy"),
    "done": Pill("✓", "Erased there", "good"),
    "needs_you": Pill("!", "Needs you: not erased there", "bad"),
    "handled": Pill("✓", "Erased there by hand", "good"),
}

REPLAYS = {"running": "On its way", "finished": "Finished", "stopped": "Stopped"}

# What a connection's problem is, after the words: the CRM “…”
_PROBLEMS = {
    "bad_key": "does not accept the key",
    "signed_out": "needs somebody to sign in there",
    "bad_client": "does not accept the client ID or secret",
    "not_let_in": "does not let the app in",
    "forbidden": "does not let this key do what is needed",
    "no_connector": "has no connector here any more",
    "lacks_key": "needs a key that this server does not have",
    "bad_options": "has settings that cannot be used any more",
    "not_found": "is not at the address that was entered",
    "redirected": "has moved to another address",
    "timeout": "does not answer in time",
    "connect": "cannot be reached",
    "dns": "cannot be found",
    "tls": "has no valid certificate",
    "gateway": "is not answering",
    "unavailable": "is not working just now",
    "too_many_requests": "asks us to slow down",
}


# How many are where: the words, and the place that is counted for them.
NUMBERS = {
    "In the CRM": "in_the_crm",
    "On the way": "on_the_way",
    "Not sent for now": "not_now",
    "Need you": "needs_you",
    "Taken care of": "handled",
    "Erased": "erased",
}
SELDOM = ("erased",)  # told only where there are some
# What became of what was a removed connection's: the same words, and those that it alone has.
BECAME = {text: place for text, place in NUMBERS.items() if place != "on_the_way"} | {"Handed over": "elsewhere"}
NOT_ARRIVED = ("on_the_way", "not_now", "needs_you")

_WHO = ("first_name", "last_name", "full_name", "email", "phone", "phone_typed")
_WHAT = ("preferred_time", "preferred_contact", "service", "message", "page")
_TOUCHES = [name for name in SOURCES if f"first_{name}" in SOURCES]  # where a visitor came from, last and first
ANSWERS = {
    **{name: label_of(name) for name in (*_WHO, *_WHAT)},  # called as in a mapping
    **{name: label_of(name) for touch in _TOUCHES for name in (touch, f"first_{touch}")},
    "tel": "Number tapped",
    "label": "Text of the link",
    "message, whole": "Message, whole",
    "files_left_out": "Files, not taken",
}
_AS_SENT = "_as_sent"  # ends the name under which is kept what an answer was before we made it fit


def consent(story: EventStory) -> str:
    """Whether, how and to whom the visitor agreed that the details are shared."""
    event = story.event
    told = [action.user_name for way in story.deliveries for action in way.actions if action.what == "consent_given"]
    later = f"; given later, says {told[0]}" if told and not event.consent_given else ""
    if event.consent_given is None:
        return f"not asked on the form{later}"
    return f"{'given' if event.consent_given else 'not given on the form'}, {wording(event.consent_version)}{later}"


def sent_again(again: Again) -> str:
    """What is new about a form that came once more."""
    if again.row.tells_more:
        return "Told later"
    consent = {True: "with consent", False: "without consent", None: ""}[again.consent]
    changed = " and ".join(filter(None, ["with other answers" if again.answers else "", consent]))
    return f"Sent again {changed}".strip()


def tries(attempts: Iterable[Attempt]) -> str:
    """`2 tries, 1 look in the CRM`: what was written there, and what was only read back."""
    verdicts = [attempt.verdict for attempt in attempts]
    looks = sum(verdict in ("confirmed", "missing") for verdict in verdicts)
    told = number_of(len(verdicts) - looks, "try", "tries")
    return f"{told}, {number_of(looks, 'look')} in the CRM" if looks else told


def answers(given: Mapping[str, Any], region: str, person: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """What was answered, with labels; without what stands among the person's own details already.

    region: of the site, for the number in a link of its pages.
    """
    own = person or {}
    read: Mapping[str, Callable[[str], str]] = {"phone": phone, "tel": lambda number: tapped(number, region)}
    shown = [
        (label, read[name](given[name]) if name in read else given[name])
        for name, label in ANSWERS.items()
        if given.get(name) not in (None, "", own.get(name))
    ]
    more = [given[group] for group in ("attribution", "extra") if isinstance(given.get(group), Mapping)]
    return shown + [(_label(str(name)), str(value)) for group in more for name, value in group.items()]


def _label(name: str) -> str:
    """`last_name_as_sent`: Last name, as sent. What a clinic's own form asks is called as there."""
    if name in ANSWERS or not name.endswith(_AS_SENT):
        return ANSWERS.get(name, name)
    answer = name.removesuffix(_AS_SENT)
    return f"{ANSWERS.get(answer, answer.capitalize().replace('_', ' '))}, as sent"


def counted(counts: Mapping[str, int], *places: str) -> str:
    """How many stand in these places, where numbers beyond a bound are not counted."""
    numbers = [counts.get(place, 0) for place in places]
    many = any(number > MOST_COUNTED for number in numbers)
    return f"{'more than ' if many else ''}{sum(min(number, MOST_COUNTED) for number in numbers):,}"


def standing(found: Standing | Delivery | None, drifts: Iterable[Drift] = ()) -> Pill:
    """Where a lead or delivery stands. None: its site has no connection. drifts: what was found of it later."""
    if found is None:
        return _NOWHERE
    if found.state == "held":
        return _HELD.get(found.code or "", _STATES["held"])
    if found.state == "refused":
        return _REFUSED.get(found.code or "", _STATES["refused"])
    if found.code == "replaced":
        return _REPLACED
    if found.state == "confirmed":
        now = [_DRIFTED[drift.kind] for drift in drifts if drift.settled_at is None and drift.kind in _DRIFTED]
        return now[0] if now else _STATES["confirmed"]
    if found.state == "sent" and (found.to_check if isinstance(found, Standing) else found.check_at is not None):
        return _BEING_CHECKED
    return _STATES[found.state]


def unconnected(hold_code: str | None) -> Pill:
    """Where an event stands that no connection is there for."""
    return _HELD.get(hold_code or "", _NOWHERE)


def drifted(counts: Mapping[str, int]) -> str:
    """`3 enquiries were deleted in the CRM`, and the like: what somebody has to see to; empty when there is nothing."""
    gone, doubled = counts.get("deleted", 0), counts.get("duplicated", 0)
    parts = [
        f"{enquiries(gone, 'was', 'were')} deleted in the CRM" if gone else "",
        f"{number_of(doubled, 'person is', 'people are')} in the CRM more than once" if doubled else "",
    ]
    return ", and ".join(filter(None, parts))


def drift_summary(counts: Mapping[str, int]) -> str:
    """How many of each kind, as one line."""
    texts = {
        "deleted": "deleted",
        "duplicated": "there more than once",
        "never_stored": "taken by the CRM and not kept, sent again by us",
        "changed": "changed, which is normal where staff work with them",
    }
    told = [f"{counts[kind]:,} {text}" for kind, text in texts.items() if counts.get(kind)]
    return f"Of the records that were seen in the CRM: {'; '.join(told)}."


def drift_line(drift: Drift) -> str:
    """What happened to one record, after the person's name and before the connection's."""
    named = f" ({', '.join(drift.fields)})" if drift.fields else ""
    return {
        "deleted": "was deleted in",
        "duplicated": "is there more than once in",
        "changed": f"was changed{named} in",
        "never_stored": "was not kept by",
    }[drift.kind]


def problem(connection: Connection) -> str:
    """What is wrong with a connection, as the end of a sentence."""
    return f"the CRM “{connection.name}” {_PROBLEMS.get(connection.code or '', 'has a problem')}"


def erasure(found: Erasure) -> Pill:
    """How far an erasure is in one CRM."""
    return _ERASURES[found.state]


def erased_when(found: Erasure, connection: Connection, now: datetime) -> str:
    """When one that waits is tried, as a sentence."""
    if connection.state == "paused":
        return "It waits until an admin starts the connection again."
    if connection.state == "failing":
        return "It waits until the connection works again."
    times = [moment for moment in (found.due_at, connection.wait_until) if moment and moment > now]
    return f"It is tried again in {span(max(times) - now)}." if times else "It is tried in a moment."


def connection_state(connection: Connection, now: datetime) -> Pill:
    """How a connection is."""
    if connection.state == "paused":
        return Pill("‖", "Paused by staff", "look")
    if wants_sign_in(connection):
        return Pill("!", "An admin must sign in", "bad")
    if is_tried_now(connection, now):
        return Pill("…", "Being tried now", "busy")
    if connection.state == "failing":
        return Pill("!", "Has a problem", "bad")
    if is_asked_to_wait(connection, now):
        return Pill("…", "Waits: the CRM asked us to slow down", "busy")
    if is_struggling(connection):
        return Pill("…", "The last try failed: being tried again", "busy")
    return Pill("✓", "Working", "good")


def goes_on(delivery: Delivery, connection: Connection, now: datetime) -> datetime | None:
    """When one that waits is tried next; None: in a moment, or not before somebody has signed in."""
    if delivery.state != "waiting" or wants_sign_in(connection):
        return None
    probe = connection.probe_at if connection.state == "failing" else None
    times = [moment for moment in (delivery.due_at, connection.wait_until, probe) if moment and moment > now]
    return max(times, default=None)


def is_asked_to_wait(connection: Connection, now: datetime) -> bool:
    """Whether it works, but its CRM wants quiet for a while."""
    return connection.state == "working" and connection.wait_until is not None and connection.wait_until > now


def quota(connection: Connection, now: datetime) -> str | None:
    """What is left of the CRM's calls of today; None when it does not tell, or has not today."""
    if connection.quota_left is None or connection.quota_at is None or now - connection.quota_at > timedelta(days=1):
        return None
    of = f" of {connection.quota_of:,}" if connection.quota_of else ""
    return f"{connection.quota_left:,}{of} calls left today"


def sign_in(connection: Connection, now: datetime) -> str:
    """Whether somebody has signed in at the CRM, as a sentence."""
    if connection.tokens_sealed is None:
        return "Nobody has signed in yet."
    if connection.sign_in_ends_at is None:
        return "Signed in."
    return f"Signed in; {ends(connection.sign_in_ends_at, 'the sign-in', now)}."


def ends(moment: datetime, what: str, now: datetime) -> str:
    """`the key ends in 12 days`."""
    days = plain.days_until(moment, now)
    return f"{what} has ended" if days is None else f"{what} ends {days}"


def is_struggling(connection: Connection) -> bool:
    """Whether it is in use, but the last try failed or the CRM wanted us to wait."""
    return connection.state == "working" and connection.code is not None


def is_tried_now(connection: Connection, now: datetime) -> bool:
    """Whether a fault had stopped it and its probe is due: how it is shows in a moment."""
    due = connection.probe_at is not None and connection.probe_at <= now
    return connection.state == "failing" and due and not wants_sign_in(connection)


def wants_sign_in(connection: Connection) -> bool:
    """Whether trying alone will not help."""
    return connection.state == "failing" and connection.code == "signed_out"


def when(moment: datetime, time_zone: str, now: datetime, *, seconds: bool = False) -> Markup:
    """A moment in a site's own zone, named; today without the date."""
    local, today = moment.astimezone(ZoneInfo(time_zone)), now.astimezone(ZoneInfo(time_zone)).date()
    day = "today" if local.date() == today else _date(local)
    text = f"{day}, {local:%H:%M:%S}" if seconds else f"{day}, {local:%H:%M}"
    return Markup('<time datetime="{}">{} {}</time>').format(local.isoformat(), text, local.tzname())


def ago_at(moment: datetime, time_zone: str, now: datetime) -> Markup:
    """How long ago, for what stands side by side with other sites: their clocks differ, and the order must show.
    After a week the date; as a tooltip the moment in the site's own zone."""
    local = moment.astimezone(ZoneInfo(time_zone))
    text = ago(moment, now) if now - moment < timedelta(days=7) else _date(local)
    exact = f"{_date(local)}, {local:%H:%M} {local.tzname()}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(local.isoformat(), exact, text)


def _date(local: datetime) -> str:
    return f"{local.day} {local:%b %Y}"


def ago(moment: datetime, now: datetime) -> str:
    """How long before now: `just now`, `3 minutes ago`."""
    return "just now" if now - moment < timedelta(seconds=2) else f"{span(now - moment)} ago"


def phone(number: str) -> str:
    """An international number with the spaces that people read it by."""
    try:
        return phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    except phonenumbers.NumberParseException:
        return number


def tapped(number: str, region: str) -> str:
    """The number in a link of the website, which anybody may have mistyped there or made up."""
    try:
        return phone(e164(number, region))
    except ValueError:
        return f"{number} (not a whole phone number: see the link on the website)"
