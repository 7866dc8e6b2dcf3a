"""In: an event with its lead and deliveries, in one commit, once per browser id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from leads.store import canary, codes, shared_ids
from leads.store.among import among
from leads.store.consents import newest_word
from leads.store.failpoint import reach
from leads.store.holds import HOLD_SENTENCES, Way, hold_reason, withhold
from leads.store.models import Connection, Delivery, Event, Lead, Resubmission, new_id
from leads.store.past_orm import are_there, insert_all
from leads.store.people import (
    NOBODY,
    Found,
    Seen,
    Trace,
    answers_of,
    are_two,
    join,
    look_up,
    make_test_lead,
    save,
    trace,
)
from leads.store.session import ONLY_STAYS, Database, once_more
from leads.store.vault import Vault

_REPEATED_BY_THE_NETWORK = timedelta(seconds=30)  # within which nobody fills in a form twice and changes it in between
_Here = Row[*tuple[Any, ...]]  # an event that was sent before, as `_BY_CLIENT` reads it


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What the intake understood. client_id: made by the browser. suspicion: why it may be spam, or None.

    test_run: the CanaryRun that sent it; None for what a visitor sent. unique: whatever comes under this client_id is
    the same event, whomever it names: what comes later tells more of it, and is no visitor who answers otherwise.
    """

    site_id: UUID
    kind: str
    client_id: str
    visitor_id: str | None
    answers: Mapping[str, Any]
    source: str
    consent_given: bool | None
    consent_version: str | None
    suspicion: str | None = None
    test_run: UUID | None = None
    unique: bool = False


class Accepted(NamedTuple):
    """reference: the event's own code, see `codes.py`. repeated: the same browser id was here before."""

    event_id: UUID
    reference: str
    received_at: datetime
    repeated: bool


def accept(database: Database, vault: Vault, events: Sequence[NewEvent]) -> list[Accepted]:
    """Store events with their leads and deliveries in one commit, each once per browser id.

    Raises sqlalchemy.exc.SQLAlchemyError when the database cannot take them: then nothing was promised.
    """
    database.require_intake()
    arrivals = [Arrival.of(vault, new) for new in events]
    return once_more(lambda: _accept(database, vault, arrivals))  # if the first commit took place, the ids are found


def client_digest(vault: Vault, site_id: UUID | str, client_id: str) -> bytes:
    """By what an event is found again that was sent under this id."""
    return vault.digest("client", site_id, client_id)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way in. client, body: digests of the browser's id and of what it said. code: what its visitor is
    told, once it is known to be free. digests: of all by which others may be the same event, of the same person or told
    the same."""

    new: NewEvent
    event_id: UUID
    code: str
    client: bytes
    body: bytes
    trace: Trace
    digests: frozenset[bytes]

    @classmethod
    def of(cls, vault: Vault, new: NewEvent) -> Arrival:
        site = str(new.site_id)  # once: it takes as long as a hash
        client = client_digest(vault, site, new.client_id)
        body = vault.digest("body", new.kind, sorted(new.answers.items()), new.consent_given)
        trusted = bool(new.consent_given) and new.suspicion is None
        found = trace(vault, site, new.answers, new.visitor_id, trusted)
        # Ids count on within a millisecond, and the visitor sees this one: made once the lead is known, it would tell
        # whether there was an id to be made for the lead as well.
        event_id, code = new_id(), codes.draw()
        digests = frozenset({client, codes.lock_of(code), *found.digests.values()})
        return cls(new, event_id, code, client, body, found, digests)

    def of_its_own(self, vault: Vault) -> Arrival:
        """The same under an id that nobody else's can be: what this person sends again is found by it."""
        person = self.trace.person
        who = person.get("email") or f"{person.get('phone')} {person.get('first_name', '')}"
        return replace(self, client=vault.digest("client of", self.client.hex(), who.casefold()))


def _accept(database: Database, vault: Vault, arrivals: Sequence[Arrival]) -> list[Accepted]:
    with database.write() as session:
        database.lock(session, frozenset().union(*(one.digests for one in arrivals)))
        now = database.now(session)
        accepted = [answer for some in _strangers(arrivals) for answer in _accept_some(session, vault, some, now)]
        database.nudge(session)
        reach("accept.written")
    reach("accept.committed")
    return accepted


def _strangers(arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
    """Those that may be of one person, or the same event twice, come one after the other."""
    some: list[Arrival] = []
    seen: set[bytes] = set()
    for one in arrivals:
        if not seen.isdisjoint(one.digests):
            yield some
            some, seen = [], set()
        some.append(one)
        seen |= one.digests
    yield some


def _accept_some(session: Session, vault: Vault, arrivals: Sequence[Arrival], now: datetime) -> list[Accepted]:
    arrivals, here = _looked_up(session, arrivals)
    if others := {one.client: one.of_its_own(vault) for one in arrivals if _is_of_another(vault, one, here)}:
        arrivals = [others.get(one.client, one) for one in arrivals]
        here |= _already_here(session, list(others.values()))
        shared_ids.note(session, {one.new.site_id for one in others.values() if one.client not in here}, now)
    fresh = [one for one in arrivals if one.client not in here]
    stored = iter(_store(session, vault, fresh, now) if fresh else [])
    return [
        _repeated(session, vault, one, row, now) if (row := here.get(one.client)) else next(stored) for one in arrivals
    ]


def _looked_up(session: Session, arrivals: Sequence[Arrival]) -> tuple[Sequence[Arrival], dict[bytes, _Here]]:
    """With codes that nobody was told, and those of them that are here already. Mostly one question answers both."""
    clients, drawn = [one.client for one in arrivals], [one.code for one in arrivals]
    asked = (Event.client_digest, clients), (Lead.code, drawn), (Event.code, drawn)
    is_repeat, *are_taken = are_there(session, *asked)
    if any(are_taken):
        free = codes.free(session, drawn)
        arrivals = [replace(one, code=code) for one, code in zip(arrivals, free, strict=True)]
    return arrivals, _already_here(session, arrivals) if is_repeat else {}


def _already_here(session: Session, arrivals: Sequence[Arrival]) -> dict[bytes, _Here]:
    clients = [one.client for one in arrivals]
    return {row.client_digest: row for row in session.execute(_BY_CLIENT, {"clients": clients})}


_BY_CLIENT = (
    select(
        *(Event.client_digest, Event.id, Event.body_digest, Event.answers_sealed, Event.is_test, Event.received_at),
        func.coalesce(Event.code, Lead.code).label("code"),
    )
    .join(Lead, Lead.id == Event.lead_id)
    .where(among(Event.client_digest, "clients"))
)


def _is_of_another(vault: Vault, arrival: Arrival, here: Mapping[bytes, _Here]) -> bool:
    """Pages give one id to all their visitors, as a cache does: that makes two people's enquiries no repeat."""
    row = here.get(arrival.client)
    if row is None or row.is_test or arrival.new.unique or row.body_digest == arrival.body:
        return False
    return are_two(answers_of(vault, row), arrival.trace.person)


def _repeated(session: Session, vault: Vault, arrival: Arrival, row: _Here, now: datetime) -> Accepted:
    if not row.is_test:
        _keep_word(session, vault, arrival, row, now)
    return Accepted(row.id, row.code, row.received_at, repeated=True)


def _keep_word(session: Session, vault: Vault, arrival: Arrival, event: _Here, now: datetime) -> None:
    """What it says otherwise, and what it says once more after that: the last word counts, be it the first again."""
    new, is_first = arrival.new, event.body_digest == arrival.body
    others = select(Resubmission).where(Resubmission.event_id == event.id)
    row = session.scalar(others.where(Resubmission.body_digest == arrival.body))
    if row is None and is_first and session.scalar(others.limit(1)) is None:
        return  # nothing else was ever said
    came_last = row.received_at if row else event.received_at if is_first else None
    if came_last and _is_no_new_word(new, came_last, now):
        return
    is_no = new.consent_given is False
    # A no comes after all that was said, also where the clock was set back since.
    said_at = max(now, newest_word(session, event.id) or now) if is_no else now
    if row is None:
        row = Resubmission(id=new_id(), event_id=event.id, body_digest=arrival.body)
        row.answers_sealed = vault.seal(dict(new.answers), "resubmission", "answers", row.id)
        session.add(row)
    row.received_at = said_at
    row.seen_at = now if new.unique and not is_no else None
    row.consent_given, row.consent_version = new.consent_given, new.consent_version
    if is_no:
        withhold(session, event.id)


def _is_no_new_word(new: NewEvent, came_last: datetime, now: datetime) -> bool:
    """Whether a program only repeats what it sent. So soon that may be an older request that comes after a newer one:
    it overrules nothing. A no counts whenever it comes; at worst somebody is asked once more."""
    return new.consent_given is not False and (new.unique or now - came_last < _REPEATED_BY_THE_NETWORK)


def _store(session: Session, vault: Vault, arrivals: Sequence[Arrival], now: datetime) -> list[Accepted]:
    seen = look_up(session, [one.trace for one in arrivals])
    leads = [_lead(session, vault, one, seen, now) for one in arrivals]
    joined = [(lead, NOBODY if lead.is_test else one.trace) for lead, one in zip(leads, arrivals, strict=True)]
    save(session, joined, now)
    events = [_event(vault, one, lead, now) for lead, one in zip(leads, arrivals, strict=True)]
    insert_all(session, Event, events)
    ways = _ways(session, {one.new.site_id for one in arrivals})
    insert_all(
        session,
        Delivery,
        [row for event, lead in zip(events, leads, strict=True) for row in _deliveries(event, lead, ways)],
    )
    for event, one in zip(events, arrivals, strict=True):
        if one.new.test_run:
            canary.stored(session, one.new.test_run, event["id"], now)
    return [Accepted(event["id"], one.code, now, repeated=False) for event, one in zip(events, arrivals, strict=True)]


def _lead(session: Session, vault: Vault, arrival: Arrival, seen: Sequence[Seen], now: datetime) -> Found:
    new = arrival.new
    if new.test_run:
        return make_test_lead(vault, new.site_id, arrival.trace, arrival.code, now)
    return join(session, vault, new.site_id, arrival.trace, seen, arrival.code, now)


def _event(vault: Vault, arrival: Arrival, lead: Found, now: datetime) -> dict[str, Any]:
    new, event_id = arrival.new, arrival.event_id
    return {
        "id": event_id,
        "site_id": new.site_id,
        "lead_id": lead.id,
        "kind": new.kind,
        "client_digest": arrival.client,
        "body_digest": arrival.body,
        "answers_sealed": vault.seal(_answers(new), "event", "answers", event_id),
        "source": new.source,
        "consent_given": new.consent_given,
        "consent_version": new.consent_version,
        "hold_code": _hold_code(new),
        "is_test": new.test_run is not None,
        "received_at": now,
        "code": None if arrival.code == lead.code else arrival.code,
    }


def _answers(new: NewEvent) -> dict[str, Any]:
    # Beside the answers, not among them: a repeat that looks suspicious is still the same answers.
    return {**new.answers, "suspicion": new.suspicion} if new.suspicion else dict(new.answers)


def _hold_code(new: NewEvent) -> str | None:
    if new.suspicion is not None:
        return "spam"
    return "no_consent" if new.kind == "consultation_request" and not new.consent_given else None


def _ways(session: Session, site_ids: Collection[UUID]) -> Mapping[UUID, list[Way]]:
    """Connections in use, by their site."""
    ways = defaultdict(list)
    for site_id, connection_id, state, unknown_callers in session.connection().execute(_IN_USE, {"sites": site_ids}):
        ways[site_id].append(Way(connection_id, state, unknown_callers))
    return ways


# Locked, as the delivery's own reference would do in a moment: one that staff remove or pause waits for this commit, or
# else a delivery could come to stand at a connection that nobody serves.
_IN_USE = (
    select(Connection.site_id, Connection.id, Connection.state, Connection.unknown_callers)
    .where(among(Connection.site_id, "sites"), Connection.removed_at.is_(None))
    .order_by(Connection.id)
    .with_for_update(**ONLY_STAYS)
)


def _deliveries(event: Mapping[str, Any], lead: Found, ways: Mapping[UUID, list[Way]]) -> Iterator[dict[str, Any]]:
    for way in ways[event["site_id"]]:
        # A test that waits until staff start a connection again tells nothing.
        if not (event["is_test"] and way.state == "paused"):
            hold = hold_reason(event["hold_code"], event["kind"], lead.known, way)
            at = event["received_at"]
            yield delivery_row(event["id"], lead.id, way.connection_id, hold, received_at=at, now=at)


def delivery_row(
    event_id: UUID, lead_id: UUID, connection_id: UUID, hold: str | None, received_at: datetime, now: datetime
) -> dict[str, Any]:
    """A delivery that nobody has tried. hold: why it may not go yet, see `hold_reason`."""
    return {
        "id": new_id(),
        "event_id": event_id,
        "connection_id": connection_id,
        "lead_id": lead_id,
        "state": "held" if hold else "waiting",
        "due_at": now,
        "attempts": 0,
        "unknown": False,
        "missing": 0,
        "code": hold,
        "sentence": HOLD_SENTENCES[hold] if hold else None,
        "created_at": received_at,
        "tries_from": now,
    }
