"""Who is it? Joins an event to the lead behind it, by e-mail, phone or the browser's own visitor id.

The rules, in order:
1. The same e-mail is the same person.
2. The same phone is the same person unless names and e-mails say otherwise: families share a phone.
3. A browser joins only callers not yet known: two people may share a computer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from leads.store import callers
from leads.store.among import among
from leads.store.models import Action, Delivery, Identity, Lead, new_id
from leads.store.past_orm import any_there, upsert
from leads.store.session import KEEPS_ITS_KEY
from leads.store.vault import Vault, VaultError

_DAMAGED = "Cannot be decrypted"
PERSON_FIELDS = ("first_name", "last_name", "email", "phone", "phone_typed")


@dataclass(frozen=True, slots=True)
class Trace:
    """What an event tells of who it is: digests to look up, and the person's details as given.

    trusted: with consent and without suspicion, or cleared by staff. What is not is held, and must not get into a CRM
    with what is.
    """

    digests: Mapping[str, bytes]
    person: Mapping[str, str]
    trusted: bool = False

    @property
    def known(self) -> bool:
        """Whether it tells who it is, and not only by which browser."""
        return "email" in self.digests or "phone" in self.digests


NOBODY = Trace({}, {})


@dataclass(slots=True)
class Found:
    """A lead as the intake reads and writes it, past the ORM."""

    id: UUID
    site_id: UUID
    code: str
    person_sealed: bytes
    known: bool
    shareable: bool
    is_test: bool
    created_at: datetime
    last_event_at: datetime


class Sealed(Protocol):
    """A lead with its person's details, however it was read."""

    @property
    def id(self) -> UUID: ...
    @property
    def person_sealed(self) -> bytes: ...


class Answered(Protocol):
    """An event with its answers, however it was read."""

    @property
    def id(self) -> UUID: ...
    @property
    def answers_sealed(self) -> bytes: ...


class Seen(NamedTuple):
    """By what a lead was recognised, and when it was last. trusted: see Trace."""

    digest: bytes
    kind: str
    seen_at: datetime
    trusted: bool
    lead: Found

    @property
    def joins(self) -> bool:
        """Not where only what is held says that it is this person, and others' details would go out with hers."""
        return self.trusted or not self.lead.shareable


def trace(
    vault: Vault, site_id: UUID | str, answers: Mapping[str, Any], visitor_id: str | None, trusted: bool = False
) -> Trace:
    """Read the person out of an event's answers."""
    given = {
        "email": (answers.get("email") or "").casefold(),
        "phone": answers.get("phone"),
        "visitor": visitor_id,
    }
    digests = {kind: vault.digest(kind, site_id, value) for kind, value in given.items() if value}
    return Trace(digests, {name: answers[name] for name in PERSON_FIELDS if answers.get(name)}, trusted)


def look_up(session: Session, traces: Iterable[Trace]) -> Sequence[Seen]:
    """Who these traces may lead to, the latest first. Locks the leads until the commit."""
    digests = [digest for found in traces for digest in found.digests.values()]
    if not any_there(session, Identity.digest, digests):
        return []
    leads: dict[UUID, Found] = {}  # each once, however many ways lead to it
    seen = [
        Seen(digest, kind, seen_at, trusted, leads.setdefault(lead[0], Found(*lead)))
        for digest, kind, seen_at, trusted, *lead in session.execute(_BY_DIGEST, {"digests": digests})
    ]
    return sorted(seen, key=lambda one: one.seen_at, reverse=True)


def join(
    session: Session,
    vault: Vault,
    site_id: UUID,
    found: Trace,
    seen: Iterable[Seen],
    code: str,
    now: datetime,
) -> Found:
    """The lead that an event belongs to, merged as needed; a new one is yet to be written (`save`).

    seen: what `look_up` gave. code: what its visitor is told, and so that of a new lead.
    """
    mine = set(found.digests.values())
    # Whose details cannot be decrypted cannot be compared or added to: this enquiry is somebody new's, and not lost.
    leads = [(one.kind, one.lead) for one in seen if one.digest in mine and one.joins and _opens(vault, one.lead)]
    known = _same_person(vault, found, leads) if found.known else None
    # A caller whose details staff have entered may be found by these as well: nobody is merged into themselves.
    unknown = (lead for kind, lead in leads if kind == "visitor" and not lead.known)
    anonymous = next((lead for lead in unknown if lead is not known), None)
    caller = next((lead for kind, lead in leads if kind == "visitor"), None)
    lead = (known or anonymous) if found.known else caller
    if lead is None:
        person = found.person if found.known else {}
        return _new_lead(vault, site_id, code, person, found.known, found.known and found.trusted, now)
    if known and anonymous:
        callers.merge(session, anonymous, known.id, now)
    _learn(session, vault, lead, found, now)
    lead.last_event_at = max(lead.last_event_at, now)
    return lead


def save(session: Session, joined: Sequence[tuple[Found, Trace]], now: datetime) -> None:
    """Write these leads, new or not, and by what all of them are recognised from now on."""
    session.flush()
    # Two may be of one person, by different ways. What is written is the lead as it stands after both.
    rows = {lead.id: {name: getattr(lead, name) for name in _COLUMNS} for lead, _ in joined}
    upsert(session, Lead, list(rows.values()), ["person_sealed", "known", "shareable", "last_event_at"])
    remember(session, joined, now)


def remember(session: Session, joined: Iterable[tuple[Found | Lead, Trace]], now: datetime) -> None:
    """Recognise these leads by what they left. They must be written already."""
    rows = [
        # By a browser only taps are joined, and they say nothing of who it is.
        {
            "digest": digest,
            "lead_id": lead.id,
            "kind": kind,
            "seen_at": now,
            "trusted": found.trusted or kind == "visitor",
        }
        for lead, found in joined
        for kind, digest in found.digests.items()
    ]
    upsert(session, Identity, [row for row in rows if row["trusted"]], ["seen_at", "trusted"])
    upsert(session, Identity, [row for row in rows if not row["trusted"]], ["seen_at"])


def vouch(session: Session, vault: Vault, lead: Lead, answers: Mapping[str, Any], now: datetime) -> None:
    """Staff have cleared an event that was held: learn of the person what it says, and join others by it."""
    if _was_corrected(session, lead):  # what staff wrote stands, in place of what was typed
        answers = {**answers, **{name: text for name, text in person_of(vault, lead).items() if answers.get(name)}}
    found = trace(vault, lead.site_id, answers, None, trusted=True)
    _learn(session, vault, lead, found, now)
    # Only what is still there: an address that staff have corrected since may be somebody else's.
    theirs = (Identity.lead_id == lead.id, Identity.digest.in_(found.digests.values()))
    session.execute(update(Identity).where(*theirs).values(trusted=True))


def _was_corrected(session: Session, lead: Lead) -> bool:
    corrected = select(Action.id).join(Delivery, Delivery.id == Action.delivery_id)
    corrected = corrected.where(Delivery.lead_id == lead.id, Action.what == "corrected")
    return session.scalar(corrected.limit(1)) is not None


def are_two(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether these details are of two people, by the rules above. Not where they have nothing to compare."""
    if _both_give(one, other, "email") and _alike(one, other, "email"):
        return False
    if _both_give(one, other, "phone"):
        return not (_alike(one, other, "phone") and _agree(one, other))
    return _both_give(one, other, "email")


def make_test_lead(vault: Vault, site_id: UUID, found: Trace, code: str, now: datetime) -> Found:
    """A lead for a test enquiry, yet to be written. It is saved without a trace, so that no visitor's enquiry can ever
    be joined to it."""
    lead = _new_lead(vault, site_id, code, found.person, True, True, now)
    lead.is_test = True
    return lead


def person_of(vault: Vault, lead: Sealed) -> dict[str, str]:
    """The lead's details, decrypted."""
    person: dict[str, str] = vault.open(lead.person_sealed, "lead", "person", lead.id)
    return person


def _opens(vault: Vault, lead: Sealed) -> bool:
    try:
        person_of(vault, lead)
    except VaultError:
        return False
    return True


def listed_person(vault: Vault, lead: Sealed) -> dict[str, str]:
    """The same for a list, from which one whose details cannot be decrypted must not take all others away."""
    try:
        return person_of(vault, lead)
    except VaultError:
        return {"first_name": _DAMAGED}


def answers_of(vault: Vault, event: Answered) -> dict[str, Any]:
    """What an event was answered with, decrypted."""
    answers: dict[str, Any] = vault.open(event.answers_sealed, "event", "answers", event.id)
    return answers


def listed_answers(vault: Vault, event: Answered) -> dict[str, Any]:
    """The same for a list, as above."""
    try:
        return answers_of(vault, event)
    except VaultError:
        return {"message": _DAMAGED}


def name_of(person: Mapping[str, str]) -> str | None:
    """What to call a person: the name, else the e-mail or phone, else None."""
    full = " ".join(filter(None, (person.get("first_name"), person.get("last_name"))))
    return full or person.get("email") or person.get("phone")


def person_behind(session: Session, lead: Lead) -> Lead:
    """The lead that this one turned out to be; itself when it was not merged."""
    while lead.merged_into:
        lead = session.get_one(Lead, lead.merged_into)
    return lead


def with_callers(session: Session, lead_id: UUID) -> list[UUID]:
    """A lead, and those of callers who turned out to be this person."""
    found, last = [lead_id], [lead_id]
    while last:
        last = list(session.scalars(select(Lead.id).where(Lead.merged_into.in_(last))))
        found += last
    return found


_COLUMNS = tuple(column.name for column in fields(Found))
_BY_DIGEST = (
    select(
        *(Identity.digest, Identity.kind, Identity.seen_at, Identity.trusted),
        *(getattr(Lead, name) for name in _COLUMNS),
    )
    .join(Lead, Lead.id == Identity.lead_id)
    # Erased while this waited for the row: whoever it was is somebody new.
    .where(among(Identity.digest, "digests"), Lead.erased_at.is_(None))
    .order_by(Lead.id)  # one order for all, so that two requests never wait for each other
    .with_for_update(of=Lead, **KEEPS_ITS_KEY)
)


def _same_person(vault: Vault, found: Trace, leads: list[tuple[str, Found]]) -> Found | None:
    by_email = next((lead for kind, lead in leads if kind == "email"), None)
    by_phone = (lead for kind, lead in leads if kind == "phone")
    return by_email or next((lead for lead in by_phone if _agree(person_of(vault, lead), found.person)), None)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two people with one phone may be the same: one e-mail is missing, or the first names are alike."""
    if not (one.get("email") and other.get("email")):
        return _alike(one, other, "first_name") or not (one.get("first_name") and other.get("first_name"))
    return bool(one.get("first_name")) and _alike(one, other, "first_name")


def _both_give(one: Mapping[str, str], other: Mapping[str, str], name: str) -> bool:
    return bool(one.get(name) and other.get(name))


def _alike(one: Mapping[str, str], other: Mapping[str, str], name: str) -> bool:
    return one.get(name, "").casefold() == other.get(name, "").casefold()


def _new_lead(
    vault: Vault, site_id: UUID, code: str, person: Mapping[str, str], known: bool, shareable: bool, now: datetime
) -> Found:
    lead_id = new_id()
    return Found(
        id=lead_id,
        site_id=site_id,
        code=code,
        person_sealed=vault.seal(dict(person), "lead", "person", lead_id),
        known=known,
        shareable=shareable,
        is_test=False,
        created_at=now,
        last_event_at=now,
    )


def _learn(session: Session, vault: Vault, lead: Found | Lead, found: Trace, now: datetime) -> None:
    if not found.known or (lead.shareable and not found.trusted):
        return
    person = person_of(vault, lead)
    newer = _added(lead, person, found)
    if newer != person:
        lead.person_sealed = vault.seal(newer, "lead", "person", lead.id)
    lead.shareable = lead.shareable or found.trusted
    if not lead.known:
        lead.known = True
        callers.release(session, lead.id, now)


def _added(lead: Found | Lead, person: Mapping[str, str], found: Trace) -> dict[str, str]:
    """The lead's details with those of an event."""
    if lead.shareable or not found.trusted:
        # Nobody may rewrite a patient's details by typing her e-mail into a form: what stands is only added to.
        return {**found.person, **person}
    # What was held until now stays out of CRMs. An unknown caller's details are those that staff entered.
    return {**({} if lead.known else person), **found.person}
