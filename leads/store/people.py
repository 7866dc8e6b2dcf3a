"""Who is it? Joins an event to the lead behind it, by e-mail, phone or the browser's own visitor id.

The rules, in order:
1. The same e-mail is the same person.
2. The same phone is the same person unless names and e-mails say otherwise: families share a phone.
3. A browser joins only callers not yet known: two people may share a computer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.store import callers
from leads.store.models import Identity, Lead, new_id
from leads.store.vault import Vault

PERSON_FIELDS = ("first_name", "last_name", "email", "phone", "phone_typed")
_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # without what a caller and a listener confuse


@dataclass(frozen=True, slots=True)
class Trace:
    """What an event tells of who it is: digests to look up, and the person's details as given."""

    digests: Mapping[str, bytes]
    person: Mapping[str, str]

    @property
    def known(self) -> bool:
        return "email" in self.digests or "phone" in self.digests


def trace(vault: Vault, site_id: UUID, answers: Mapping[str, Any], visitor_id: str | None) -> Trace:
    """Read the person out of an event's answers."""
    given = {
        "email": (answers.get("email") or "").casefold(),
        "phone": answers.get("phone"),
        "visitor": visitor_id,
    }
    digests = {kind: vault.digest(kind, site_id, value) for kind, value in given.items() if value}
    return Trace(digests, {name: answers[name] for name in PERSON_FIELDS if answers.get(name)})


def join(session: Session, vault: Vault, site_id: UUID, found: Trace, trusted: bool, now: datetime) -> Lead:
    """The lead that an event belongs to, made or merged as needed.

    trusted: the event has consent and is not suspected, so its details may replace those that are not.
    """
    leads = _candidates(session, found)
    known = _same_person(vault, found, leads) if found.known else None
    anonymous = next((lead for kind, lead in leads if kind == "visitor" and not lead.known), None)
    caller = next((lead for kind, lead in leads if kind == "visitor"), None)
    lead = (known or anonymous) if found.known else caller
    if lead is None:
        lead = _new_lead(session, vault, site_id, now)
    elif known and anonymous:
        anonymous.merged_into = known.id
        callers.merge(session, anonymous.id, known.id, now)
    _learn(session, vault, lead, found, trusted, now)
    lead.last_event_at = max(lead.last_event_at, now)
    _remember(session, lead, found, now)
    return lead


def make_test_lead(session: Session, vault: Vault, site_id: UUID, found: Trace, now: datetime) -> Lead:
    """A lead for a test enquiry. It has no identity, so that no visitor's enquiry can ever be joined to it."""
    lead = _new_lead(session, vault, site_id, now)
    lead.is_test = lead.known = lead.shareable = True
    lead.person_sealed = vault.seal(dict(found.person), "lead", "person", lead.id)
    return lead


def person_of(vault: Vault, lead: Lead) -> dict[str, str]:
    """The lead's details, decrypted."""
    person: dict[str, str] = vault.open(lead.person_sealed, "lead", "person", lead.id)
    return person


def name_of(person: Mapping[str, str]) -> str | None:
    """What to call a person: the name, else the e-mail or phone, else None."""
    full = " ".join(filter(None, (person.get("first_name"), person.get("last_name"))))
    return full or person.get("email") or person.get("phone")


def person_behind(session: Session, lead: Lead) -> Lead:
    """The lead that this one turned out to be; itself when it was not merged."""
    while lead.merged_into:
        lead = session.get_one(Lead, lead.merged_into)
    return lead


def _candidates(session: Session, found: Trace) -> list[tuple[str, Lead]]:
    rows = session.execute(
        select(Identity.kind, Lead, Identity.seen_at)
        .join(Lead, Lead.id == Identity.lead_id)
        .where(Identity.digest.in_(found.digests.values()))
        .order_by(Lead.id)  # one order for all, so that two requests never wait for each other
        .with_for_update(of=Lead, key_share=True)
    )
    latest_first = sorted(rows, key=lambda row: row.seen_at, reverse=True)
    return [(kind, lead) for kind, lead, _ in latest_first]


def _same_person(vault: Vault, found: Trace, leads: list[tuple[str, Lead]]) -> Lead | None:
    by_email = next((lead for kind, lead in leads if kind == "email"), None)
    by_phone = (lead for kind, lead in leads if kind == "phone")
    return by_email or next((lead for lead in by_phone if _agree(person_of(vault, lead), found.person)), None)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two people with one phone may be the same: one e-mail is missing, or the first names are alike."""
    if not (one.get("email") and other.get("email")):
        return _alike(one, other, "first_name") or not (one.get("first_name") and other.get("first_name"))
    return bool(one.get("first_name")) and _alike(one, other, "first_name")


def _alike(one: Mapping[str, str], other: Mapping[str, str], name: str) -> bool:
    return one.get(name, "").casefold() == other.get(name, "").casefold()


def _new_lead(session: Session, vault: Vault, site_id: UUID, now: datetime) -> Lead:
    lead = Lead(
        id=new_id(),
        site_id=site_id,
        code=_new_code(session),
        known=False,
        shareable=False,
        created_at=now,
        last_event_at=now,
    )
    lead.person_sealed = vault.seal({}, "lead", "person", lead.id)
    session.add(lead)
    session.flush()
    return lead


def _new_code(session: Session) -> str:
    while True:
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(6))
        code = f"{letters[:3]}-{letters[3:]}"
        if session.scalar(select(Lead.id).where(Lead.code == code)) is None:
            return code


def _learn(session: Session, vault: Vault, lead: Lead, found: Trace, trusted: bool, now: datetime) -> None:
    if not found.known:
        return
    person = person_of(vault, lead)
    # Nobody may rewrite a patient's details by typing her e-mail into a form: what stands is only added to.
    newer = {**person, **found.person} if trusted and not lead.shareable else {**found.person, **person}
    if newer != person:
        lead.person_sealed = vault.seal(newer, "lead", "person", lead.id)
    lead.shareable = lead.shareable or trusted
    if not lead.known:
        lead.known = True
        callers.release(session, lead.id, now)


def _remember(session: Session, lead: Lead, found: Trace, now: datetime) -> None:
    session.flush()
    for kind, digest in found.digests.items():
        session.merge(Identity(digest=digest, lead_id=lead.id, kind=kind, seen_at=now))
