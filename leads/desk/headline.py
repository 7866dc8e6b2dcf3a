"""The one sentence of the first page: how everything stands, what somebody should know first, and what helps."""

from __future__ import annotations

from typing import NamedTuple

from flask_login import current_user

from leads.desk import words
from leads.store.models import Connection
from leads.store.queries.overview import Overview
from leads.store.space import Space

_BY_OURSELVES = "Nothing is lost; we keep trying by ourselves."
# Where trying alone will not help: by the connection's code.
_BY_A_PERSON = {
    "signed_out": "An admin has to sign in at the CRM",
    "bad_key": "An admin has to enter a new key, or mend it in the CRM",
    "no_connector": "Whoever looks after the server has to install its connector again",
    "lacks_key": "Whoever looks after the server has to copy the key file to it, or restore it",
    "bad_options": "An admin has to enter its settings again",
    "insecure_url": "An admin has to enter an address that begins with https://",
}
_SEE_THE_BALANCE = "The balance of the day shows whose. Please tell whoever looks after Frontdesk."


class Headline(NamedTuple):
    """The one sentence, a tone for its colour, and what it means or what to do about it."""

    tone: str
    sentence: str
    more: str = ""


def headline(state: Overview, space: Space) -> Headline:
    """How everything stands, in one sentence. space: on the disk of the database."""
    return _full_disk(space) or _looks_after_none(state) or _how_all_stands(state)


def _full_disk(space: Space) -> Headline | None:
    """Comes before all else: nothing new gets in."""
    if not space.is_short():
        return None
    return Headline(
        "bad",
        "The server’s disk is almost full: visitors are asked to send their enquiry again later.",
        f"What is here is safe and goes on to the CRM. Ask whoever looks after the server for more room: "
        f"{max(space.free, 0) // 2**20} MB are left, {space.min_free // 2**20} MB must be.",
    )


def _looks_after_none(state: Overview) -> Headline | None:
    if current_user.sites is None or state.today:
        return None
    told = "No website is yours to look after yet."
    return Headline("look", told, "Ask an admin to choose some for you under “Users”.")


def _how_all_stands(state: Overview) -> Headline:
    """Never good news while nobody delivers."""
    if state.worker_is_silent and state.connections:
        return _silent(state)
    told = _unbalanced(state) or _told_by_waits(state)
    return _with_looks(told, state) if told else _arrived(state)


def _unbalanced(state: Overview) -> Headline | None:
    number = sum(day.unaccounted for day in state.balances)
    told = f"{words.enquiries(number, 'is', 'are')} not accounted for."
    return Headline("bad", told, _SEE_THE_BALANCE) if number else None


def _told_by_waits(state: Overview) -> Headline | None:
    waiting = state.waiting
    if waiting.get("problem"):
        return _problem(state)
    if told := _needs_you(state):
        return told
    if any(connection.state == "failing" for connection in state.connections):
        return _problem(state)
    if not state.connections:
        return _unconnected(state)
    if some := _who_go_nowhere(state):
        return Headline("look", f"{some}.")
    if some := _who_are_paused(state):
        return Headline("look", f"{some}.")
    if number := waiting.get("on_the_way", 0):
        return _on_the_way(state, number)
    return None


def _needs_you(state: Overview) -> Headline | None:
    if some := _who_need_you(state):
        return Headline("bad", f"{some}.", _below(state))
    if some := _to_erase(state):
        return Headline("bad", f"{some}.", "Below you see why, and what helps.")
    if some := words.drifted(state.drift):
        return Headline("bad", f"{some}.", "Below you see whose they are, and what helps.")
    return None


def _who_need_you(state: Overview) -> str:
    """`3 enquiries need you`; empty when none does."""
    return f"{words.enquiries(state.need_you, 'needs', 'need')} you" if state.need_you else ""


def _to_erase(state: Overview) -> str:
    """`2 records of erased people still stand in a CRM`; empty when none does."""
    verb = "stands" if state.to_erase == 1 else "stand"
    told = f"{words.number_of(state.to_erase, 'record')} of erased people still {verb} in a CRM"
    return told if state.to_erase else ""


def _below(state: Overview) -> str:
    """What helps stands below; that others are late or go nowhere has a place beside the headline all the same."""
    struggling = _struggling(state)
    late = f"others wait: {words.problem(struggling)}" if struggling else ""
    others = (late, _failing(state), *_besides(state))
    besides = [f" Besides, {what}." for what in others if what]
    return f"Below you see why, and what helps.{''.join(besides)}"


def _besides(state: Overview) -> tuple[str, ...]:
    """What has a place beside whatever comes first; empty what there is nothing of."""
    return _who_go_nowhere(state), _who_are_paused(state), _to_erase(state), words.drifted(state.drift)


def _who_go_nowhere(state: Overview) -> str:
    """`3 enquiries cannot go anywhere: …`; empty when none is so."""
    number = state.waiting.get("no_connection", 0)
    whose = "its" if number == 1 else "their"
    return f"{words.enquiries(number)} cannot go anywhere: {whose} site has no CRM connected" if number else ""


def _who_are_paused(state: Overview) -> str:
    """`3 enquiries wait because staff paused a connection`; empty when none does."""
    number = state.waiting.get("paused", 0)
    return f"{words.enquiries(number, 'waits', 'wait')} because staff paused a connection" if number else ""


def _failing(state: Overview) -> str:
    """Which connection has a problem, or how many have one; empty where none has."""
    failing = [connection for connection in state.connections if connection.state == "failing"]
    if len(failing) > 1:
        return f"{len(failing)} connections have a problem"
    return words.problem(failing[0]) if failing else ""


def _struggling(state: Overview) -> Connection | None:
    """A connection whose last try failed, and which enquiries wait for."""
    waited_for = (wait.connection for wait in state.waits if wait.reason == "on_the_way")
    return next((connection for connection in waited_for if connection and words.is_struggling(connection)), None)


def _on_the_way(state: Overview, number: int) -> Headline:
    for wait in state.waits:
        if wait.reason == "on_the_way" and wait.connection and words.is_struggling(wait.connection):
            told = f"{words.enquiries(wait.number, 'is', 'are')} waiting: {words.problem(wait.connection)}."
            return Headline("busy", told, _BY_OURSELVES)
    return Headline("busy", f"{words.enquiries(number, 'is on its', 'are on their')} way.")


def _silent(state: Overview) -> Headline:
    number = sum(state.waiting.values())
    safe = f"{words.enquiries(number, 'waits and is', 'wait and are')} safe"
    return Headline(
        "bad",
        f"The sync is not running; {safe if number else 'what comes in is safe and waits'}.",
        "Start it on the server with “frontdesk worker”, or ask whoever looks after the server.",
    )


def _problem(state: Overview) -> Headline:
    what = _failing(state)
    codes = [connection.code for connection in state.connections if connection.state == "failing"]
    person = next((_BY_A_PERSON[code] for code in codes if code in _BY_A_PERSON), None)
    number = state.waiting.get("problem", 0)
    if not number:
        help_text = f"{person}." if person else "We keep trying by ourselves."
        return Headline("look", f"Nothing waits for it now, but {what}.", help_text)
    help_text = f"Nothing is lost. {person}." if person else _BY_OURSELVES
    if others := _who_need_you(state):
        help_text += f" Besides, {others}: see below."
    for some in filter(None, _besides(state)):
        help_text += f" Besides, {some}."
    return Headline("bad", f"{words.enquiries(number, 'is', 'are')} waiting: {what}.", help_text)


def _unconnected(state: Overview) -> Headline:
    if not state.today:
        return Headline("look", "No website is set up yet.")
    number = state.waiting.get("no_connection", 0)
    if not number:
        return Headline("look", "No CRM is connected yet.")
    return Headline("look", f"{words.enquiries(number, 'is', 'are')} safe here; no CRM is connected.")


def _arrived(state: Overview) -> Headline:
    if looks := _looks(state):
        rest = "All else is in the CRM" if state.any_event else "No enquiries yet"
        return Headline("look", f"{rest}, but {looks}: please have a look.", _checking(state))
    if not state.any_event:
        return Headline("calm", "No enquiries yet.")
    return Headline("good", "Every enquiry is in the CRM.", _checking(state))


def _with_looks(told: Headline, state: Overview) -> Headline:
    """What any stranger can send must not hide other news, so there it stands beside the sentence."""
    looks = _looks(state)
    return told._replace(more=f"{told.more} Please have a look as well: {looks}.".strip()) if looks else told


def _looks(state: Overview) -> str:
    """`2 look like spam and 1 could not be understood`; empty where nothing waits for a look."""
    spam, again, unread = state.waiting.get("spam", 0), len(state.resubmitted), state.unreadable
    looks = [
        words.number_of(spam, "looks like spam", "look like spam") if spam else "",
        f"{words.number_of(again, 'was', 'were')} sent again with other answers or consent" if again else "",
        f"{unread:,} could not be understood" if unread else "",
    ]
    *others, last = filter(None, looks) if any(looks) else [""]
    return " and ".join([", ".join(others), last]) if others else last


def _checking(state: Overview) -> str:
    notes = []
    if state.checking:
        verb = "is" if state.checking == 1 else "are"
        notes.append(f"{state.checking:,} of them {verb} being checked: read back from the CRM to be sure.")
    if callers := state.waiting.get("unknown_caller", 0):
        notes.append(f"{words.number_of(callers, 'call waits', 'calls wait')} until the caller is known, as set up.")
    return " ".join(notes)
