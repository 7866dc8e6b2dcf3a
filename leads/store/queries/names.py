"""What people call themselves from one enquiry to the next: whom a list is about, and who goes with whom is erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session

from leads.store.models import Event, Lead, Resubmission
from leads.store.people import listed_answers, listed_person, name_of, with_callers
from leads.store.queries.spelling import folded
from leads.store.vault import Vault, VaultError

_NEWEST = 5  # enquiries of each person in a list
_MOST_READ = 5_000  # of one person: any stranger can send as many as they like


class Details(NamedTuple):
    """All that somebody wrote under, each once, what stands on their record first. complete: False when there were more
    enquiries than are read."""

    names: Sequence[str]
    emails: Sequence[str]
    phones: Sequence[str]
    complete: bool


def details_of(session: Session, vault: Vault, lead: Lead) -> Details:
    """Under which names, e-mails and phone numbers a person wrote, in any enquiry and in what was sent again."""
    ids = with_callers(session, lead.id)
    leads = session.scalars(select(Lead).where(Lead.id.in_(ids)).order_by(Lead.merged_into.is_not(None), Lead.id))
    newest = select(Event).where(Event.lead_id.in_(ids)).order_by(Event.received_at.desc(), Event.id.desc())
    events = session.scalars(newest.limit(_MOST_READ + 1)).all()
    theirs = select(Event.id).where(Event.lead_id.in_(ids))
    again = session.scalars(select(Resubmission).where(Resubmission.event_id.in_(theirs)).limit(_MOST_READ + 1)).all()
    told = [
        *(listed_person(vault, one) for one in leads),
        *(listed_answers(vault, event) for event in events[:_MOST_READ]),
        *(_sent_again(vault, row) for row in again[:_MOST_READ]),
    ]
    return Details(
        _each_once(map(_full_name, told)),
        _each_once(answers.get("email") for answers in told),
        _each_once(answers.get("phone") or answers.get("phone_typed") for answers in told),
        max(len(events), len(again)) <= _MOST_READ,
    )


def other_names(session: Session, vault: Vault, people: Mapping[UUID, Mapping[str, str]]) -> dict[UUID, list[str]]:
    """Lead → other names in the newest enquiries. Not a part of the name on record: whoever leaves out the last one.

    people: lead → the details on record.
    """
    own = {lead_id: set(folded(name).split()) for lead_id, person in people.items() if (name := _full_name(person))}
    found: dict[UUID, list[str]] = {}
    for event in _newest_of(session, list(own)):
        name = _full_name(listed_answers(vault, event)) or ""
        if not set(folded(name).split()) <= own[event.lead_id]:
            found.setdefault(event.lead_id, []).append(name)
    return {lead_id: _each_once(names) for lead_id, names in found.items()}


def _newest_of(session: Session, lead_ids: Sequence[UUID]) -> Sequence[Event]:
    if not lead_ids:
        return []
    newest = select(Event.id).order_by(Event.received_at.desc(), Event.id.desc()).limit(_NEWEST)
    # Each within another one: SQLite takes no LIMIT in a part of a UNION.
    each = (newest.where(Event.lead_id == lead_id).subquery() for lead_id in lead_ids)
    some = union_all(*(select(one.c.id) for one in each)).subquery("some")
    return session.scalars(select(Event).join(some, some.c.id == Event.id).order_by(Event.received_at.desc())).all()


def _sent_again(vault: Vault, row: Resubmission) -> Mapping[str, Any]:
    try:
        answers: dict[str, Any] = vault.open(row.answers_sealed, "resubmission", "answers", row.id)
    except VaultError:
        return {}
    return answers


def _full_name(answers: Mapping[str, Any]) -> str | None:
    return name_of({name: str(answers[name]) for name in ("first_name", "last_name") if answers.get(name)})


def _each_once(told: Iterable[str | None]) -> list[str]:
    found: dict[str, str] = {}
    for text in told:
        if text:
            found.setdefault(text.casefold(), text)
    return list(found.values())
