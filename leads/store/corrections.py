"""Staff correct what a person has typed: the details, and by what later enquiries are joined to the lead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete
from sqlalchemy.orm import Session

from leads.store import callers
from leads.store.models import Identity, Lead
from leads.store.people import person_of, remember, trace
from leads.store.vault import Vault

CORRECTABLE = ("first_name", "last_name", "email", "phone")


class Change(NamedTuple):
    """One detail that was changed. old, new: empty where there was or is none."""

    field: str
    old: str
    new: str


def correct(session: Session, vault: Vault, lead: Lead, given: Mapping[str, str], now: datetime) -> list[Change]:
    """Replace details of a lead that this session has locked. given: as `leads.fields` understood them, all of them."""
    before = person_of(vault, lead)
    after = {name: value for name, value in {**before, **given}.items() if value}
    changes = [change for name in CORRECTABLE if (change := _change(name, before, after))]
    if before.get("phone") == after.get("phone") and (beside := _change("phone_typed", before, after)):
        changes.append(beside)
    if changes:
        lead.person_sealed = vault.seal(after, "lead", "person", lead.id)
        _join_by(session, vault, lead, before, after, now)
        if not lead.known and (after.get("email") or after.get("phone")):
            _introduce(session, lead, now)
    return changes


def _change(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Change | None:
    old, new = before.get(name, ""), after.get(name, "")
    return Change(name, old, new) if old != new else None


def _introduce(session: Session, lead: Lead, now: datetime) -> None:
    """Staff say who the caller is: CRMs get the details, and calls that waited for them may go."""
    lead.known = lead.shareable = True
    callers.release(session, lead.id, now)


def _join_by(
    session: Session, vault: Vault, lead: Lead, before: Mapping[str, str], after: Mapping[str, str], now: datetime
) -> None:
    """A mistyped address or number may be somebody else's: what they send must not be joined to this lead."""
    trusted = lead.shareable or not lead.known  # else some of it may stand only in what is held
    old, new = (trace(vault, lead.site_id, person, None, trusted) for person in (before, after))
    gone = set(old.digests.values()) - set(new.digests.values())
    session.execute(delete(Identity).where(Identity.lead_id == lead.id, Identity.digest.in_(gone)))
    remember(session, [(lead, new)], now)
