"""Leads: the list with its filters, and the search."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, and_, case, exists, func, or_, select, union_all
from sqlalchemy.orm import Session

from leads.fields import e164
from leads.store.among import among
from leads.store.codes import reference_of
from leads.store.models import Delivery, Drift, Event, Identity, Lead, Site
from leads.store.people import PERSON_FIELDS, listed_answers, listed_person, name_of, person_behind, trace
from leads.store.queries.lists import sites
from leads.store.queries.names import other_names
from leads.store.queries.places import HELD_FOR_A_PERSON, LISTED, held_alone
from leads.store.queries.spelling import matcher
from leads.store.scope import only_sites
from leads.store.vault import Vault

PAGE_SIZE = 25
MOST_FOUND = 50
MOST_SEARCHED = 5_000  # leads that one search by name decrypts
_MOST_MERGED = 100  # websites: SQLite takes 500 parts of a statement
ARRIVED = ("sent", "confirmed")
# The first of these that one of a lead's deliveries has is what the list says of the lead.
URGENCY = ("refused", "expired", "held", "sending", "waiting", "sent", "confirmed", "handled", "erased")


class Standing(NamedTuple):
    """Where a lead or delivery stands: its state, the short code of the reason, and whether it is to be read back."""

    state: str
    code: str | None
    to_check: bool


_ERASED = Standing("erased", None, False)  # also of those that no connection was there for


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """Which leads to list. place: where at least one delivery is, a word of LISTED. state: one is in it.
    What is held where no connection is counts as if one were. since: the last event is not older.
    """

    place: str | None = None
    state: str | None = None
    kind: str | None = None
    site_id: UUID | None = None
    since: datetime | None = None


class Cursor(NamedTuple):
    """A place in the list: the last event's time and the id of a lead."""

    at: datetime
    id: UUID


class Heard(NamedTuple):
    """What somebody did last, when, and the code that they were told for it."""

    kind: str
    received_at: datetime
    code: str


class ListedLead(NamedTuple):
    """One line of the list. name: as given, or None for a caller not yet known. standing: None without a connection.
    drifts: what a look at the CRM found, and nobody has seen to yet. also: other names that they wrote under lately."""

    lead: Lead
    name: str | None
    site: Site
    last_event: Heard | None
    standing: Standing | None
    drifts: Sequence[Drift] = ()
    also: Sequence[str] = ()

    @property
    def code(self) -> str:
        """The code that they were told last, which is the one that they read out."""
        return self.last_event.code if self.last_event else self.lead.code


class Page(NamedTuple):
    """Part of the list, newest first. newer, older: where the next parts begin, None at an end."""

    rows: list[ListedLead]
    newer: Cursor | None
    older: Cursor | None


class SearchResult(NamedTuple):
    """What a search brought. complete: False when there were more leads than a search by name looks through."""

    rows: list[ListedLead]
    complete: bool


def leads(
    session: Session,
    vault: Vault,
    chosen: LeadFilter,
    *,
    older_than: Cursor | None = None,
    newer_than: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> Page:
    """One page of leads, by the time of their last event."""
    where = _chosen(session, chosen)
    if newer_than:
        where.append(_beyond(newer_than, newer=True))
        found = _first(session, chosen, where, size + 1, upwards=True)
        more_newer, more_older = len(found) > size, True
        found = found[:size][::-1]
    else:
        if older_than:
            where.append(_beyond(older_than, newer=False))
        found = _first(session, chosen, where, size + 1)
        more_newer, more_older = older_than is not None, len(found) > size
        found = found[:size]
    rows = _rows(session, vault, found)
    first, last = (_place(found[0]), _place(found[-1])) if found else (None, None)
    return Page(rows, first if more_newer else None, last if more_older else None)


def _first(
    session: Session, chosen: LeadFilter, where: Sequence[ColumnElement[bool]], limit: int, *, upwards: bool = False
) -> Sequence[Lead]:
    """The newest leads for which all of this holds; upwards: the oldest."""
    listed, sites = select(Lead).where(*where), only_sites(session)
    if chosen.site_id is None and _fits_most(chosen) and 1 < len(sites) <= _MOST_MERGED:
        first = _merged(where, sites, limit, upwards).limit(limit).subquery("first")
        listed = select(Lead).join(first, first.c.id == Lead.id)
    return session.scalars(listed.order_by(*_order(Lead, upwards)).limit(limit)).all()


def _merged(
    where: Sequence[ColumnElement[bool]], sites: Iterable[UUID], limit: int, upwards: bool
) -> CompoundSelect[datetime, UUID]:
    """Ids of the first leads of each website by its own index: where few are of these websites, the database would go
    through all there are by the index of all."""
    listed = select(Lead.last_event_at, Lead.id).where(*where).order_by(*_order(Lead, upwards)).limit(limit)
    # Each within another one: SQLite takes no LIMIT in a part of a UNION.
    each = (listed.where(Lead.site_id == site_id).subquery() for site_id in sites)
    merged = union_all(*(select(one.c.last_event_at, one.c.id) for one in each))
    return merged.order_by(*_order(merged.selected_columns, upwards))


def _order(leads: Any, upwards: bool) -> tuple[ColumnElement[Any], ...]:
    """leads: what has the columns."""
    at, id_ = leads.last_event_at, leads.id
    return (at, id_) if upwards else (at.desc(), id_.desc())


def _place(lead: Lead) -> Cursor:
    return Cursor(lead.last_event_at, lead.id)


def _beyond(place: Cursor, *, newer: bool) -> ColumnElement[bool]:
    at, id_ = Lead.last_event_at, Lead.id
    # The first condition says nothing new: it lets the database start at the right place of its index.
    if newer:
        return and_(at >= place.at, or_(at > place.at, id_ > place.id))
    return and_(at <= place.at, or_(at < place.at, id_ < place.id))


def _chosen(session: Session, chosen: LeadFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [Lead.merged_into.is_(None), Lead.is_test.is_(False)]
    if chosen.place:
        where.append(_has(session, chosen, LISTED[chosen.place], chosen.place))
    if chosen.state:
        where.append(_has(session, chosen, Delivery.state == chosen.state, chosen.state))
    if chosen.kind:
        where.append(exists().where(Event.lead_id == Lead.id, Event.kind == chosen.kind))
    if site_id := chosen.site_id or _only_site(session, chosen):
        where.append(Lead.site_id == site_id)
    if chosen.since:
        where.append(Lead.last_event_at >= chosen.since)
    return where


def _only_site(session: Session, chosen: LeadFilter) -> UUID | None:
    """The one website that this session is kept to, where its index serves; few leads are found without."""
    sites = only_sites(session)
    return sites[0] if len(sites) == 1 and not _is_of_few(chosen) else None


def _is_of_few(chosen: LeadFilter) -> bool:
    """Whether few leads have such a delivery, so that those are looked up first."""
    few_there = chosen.place not in (None, "in_the_crm")
    return few_there or chosen.state not in (None, *ARRIVED)


def _fits_most(chosen: LeadFilter) -> bool:
    """Whether a list is soon full, whichever website is gone through. All may be of one kind at one of them."""
    return chosen.kind is None and not _is_of_few(chosen)


def _has(session: Session, chosen: LeadFilter, here: ColumnElement[bool], word: str) -> ColumnElement[bool]:
    """Whether a lead has such a delivery, or would have where there is no connection. word: the place or state."""
    if word in ("in_the_crm", *ARRIVED):
        return exists().where(Delivery.lead_id == Lead.id, here)
    # Few leads have: those are looked up first, not every lead in turn. By the event, since what nobody knows of a call
    # stays with its caller when that turns out to be somebody known.
    having = select(Event.lead_id).join(Delivery, Delivery.event_id == Event.id).where(here)
    alone = held_alone(session, word, chosen.site_id)
    return Lead.id.in_(having.union_all(select(Event.lead_id).where(*alone)) if alone else having)


def _rows(session: Session, vault: Vault, found: Sequence[Lead]) -> list[ListedLead]:
    ids = [lead.id for lead in found]
    by_site = {site.id: site for site in sites(session)}
    last_event = _last_events(session, found)
    drifts = _open_drifts(session, ids)
    people = {lead.id: listed_person(vault, lead) for lead in found}
    also = other_names(session, vault, people)
    standings: dict[UUID, set[Standing]] = {}
    code = case((Delivery.state.is_(None), Event.hold_code), else_=Delivery.code)
    told = select(Event.lead_id, Delivery.state, code, Delivery.check_at.is_not(None))
    theirs = told.outerjoin(Delivery, Delivery.event_id == Event.id).where(Event.lead_id.in_(ids))
    for id_, state, code, to_check in session.execute(theirs.distinct()):
        if state or code:  # held for a reason of its own, with or without a connection
            standings.setdefault(id_, set()).add(Standing(state or "held", code, to_check))
    return [
        ListedLead(
            lead,
            name_of(people[lead.id]),
            by_site[lead.site_id],
            last_event.get(lead.id),
            most_urgent(standings.get(lead.id, [_ERASED] if lead.erased_at else [])),
            drifts.get(lead.id, ()),
            also.get(lead.id, ()),
        )
        for lead in found
    ]


def _last_events(session: Session, leads: Sequence[Lead]) -> dict[UUID, Heard]:
    """Of each lead the last one alone: any stranger can send as many as they like."""
    by_id = {lead.id: lead for lead in leads}
    newest = select(Event.id).where(Event.lead_id == Lead.id).order_by(Event.received_at.desc(), Event.id.desc())
    last = select(newest.limit(1).correlate(Lead).scalar_subquery()).where(Lead.id.in_(by_id))
    told = select(Event.lead_id, Event.kind, Event.received_at, Event.code).where(Event.id.in_(last))
    return {
        row.lead_id: Heard(row.kind, row.received_at, reference_of(row, by_id[row.lead_id]))
        for row in session.execute(told)
    }


def _open_drifts(session: Session, ids: Sequence[UUID]) -> dict[UUID, list[Drift]]:
    found: dict[UUID, list[Drift]] = {}
    of_these = select(Delivery.lead_id, Drift).join(Delivery, Delivery.id == Drift.delivery_id)
    for lead_id, drift in session.execute(of_these.where(Delivery.lead_id.in_(ids), Drift.settled_at.is_(None))):
        found.setdefault(lead_id, []).append(drift)
    return found


def most_urgent(standings: Iterable[Standing]) -> Standing | None:
    """Of several, the one that somebody should know first."""
    return min(standings, key=_urgency, default=None)


def _urgency(standing: Standing) -> tuple[int, bool, str]:
    needs_nobody = standing.state == "held" and standing.code not in HELD_FOR_A_PERSON
    return URGENCY.index(standing.state), needs_nobody, standing.code or ""


def lead_by_code(session: Session, typed: str) -> Lead | None:
    """The lead with this reference code, or with an event that has it, in any case, with or without hyphen; a merged
    caller leads to the person."""
    letters = re.sub(r"[\s-]", "", typed).upper()
    letters = letters.removeprefix("CALLER")  # who has no name is called so, with the code
    if len(letters) != 6:
        return None
    code = f"{letters[:3]}-{letters[3:]}"
    ids = select(Lead.id).where(Lead.code == code).union_all(select(Event.lead_id).where(Event.code == code))
    # A call that moved has the code of its caller: both lead to the same person.
    lead = session.scalar(select(Lead).where(Lead.id.in_(ids), Lead.is_test.is_(False)).limit(1))
    return person_behind(session, lead) if lead else None


def search(session: Session, vault: Vault, typed: str, chosen: LeadFilter) -> SearchResult:
    """Leads by reference code, e-mail or phone; else by parts of the name, newest first, at most MOST_FOUND."""
    where = _chosen(session, chosen)
    coded = lead_by_code(session, typed)
    digests = _digests(session, vault, typed)
    ids = set(session.scalars(select(Identity.lead_id).where(Identity.digest.in_(digests)))) if digests else set()
    ids |= {coded.id} if coded else set()
    newest = select(Lead).order_by(*_order(Lead, upwards=False))
    exact = session.scalars(newest.where(Lead.id.in_(ids), *where).limit(MOST_FOUND)).all() if ids else []
    if exact:
        return SearchResult(_rows(session, vault, exact), complete=True)
    matches = matcher(typed)
    looked_at = _first(session, chosen, [*where, Lead.known.is_(True)], MOST_SEARCHED + 1)
    searched = looked_at[:MOST_SEARCHED]
    ids = {lead.id for lead in searched if matches(listed_person(vault, lead))}
    ids |= _by_another_enquiry(session, vault, [lead.id for lead in searched if lead.id not in ids], matches)
    found = [lead for lead in searched if lead.id in ids]
    return SearchResult(
        _rows(session, vault, found[:MOST_FOUND]), complete=len(looked_at) <= MOST_SEARCHED >= len(found)
    )


def _by_another_enquiry(
    session: Session, vault: Vault, ids: Sequence[UUID], matches: Callable[[Mapping[str, str]], bool]
) -> set[UUID]:
    """Who said so in another of their enquiries, as a married name: the record keeps what was said first."""
    several = select(Event.lead_id).where(among(Event.lead_id, "ids")).group_by(Event.lead_id).having(func.count() > 1)
    theirs = select(Event).where(Event.lead_id.in_(several)).order_by(Event.received_at.desc()).limit(MOST_SEARCHED)
    told = ((event.lead_id, listed_answers(vault, event)) for event in session.scalars(theirs, {"ids": ids}))
    return {
        lead_id
        for lead_id, answers in told
        if matches({name: str(answers[name]) for name in PERSON_FIELDS if answers.get(name)})
    }


def _digests(session: Session, vault: Vault, typed: str) -> list[bytes]:
    """Keyed hashes of what was typed, as an e-mail and as a phone number of each site's region."""
    found: list[bytes] = []
    for site in sites(session):
        answers = {"email": typed.strip()} if "@" in typed else {"phone": _e164(typed, site.region)}
        found += trace(vault, site.id, answers, None).digests.values()
    return found


def _e164(typed: str, region: str) -> str | None:
    try:
        return e164(typed, region)
    except ValueError:
        return None
