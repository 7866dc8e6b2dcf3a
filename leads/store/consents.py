"""To which wording visitors agreed, and who of the clinic has said so, where the visitor had not on the form."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from leads.store.models import Action, Delivery, Event, Resubmission

OF_THE_FORM = "of the form itself"  # a form plugin's: what it sent of it stands among the answers


def wording(version: str | None) -> str:
    """What visitors were asked to agree to, in words. version: which of the site's; None: a text of the form's own."""
    return f"wording {version or OF_THE_FORM}"


class Noted(NamedTuple):
    """That consent was given. by: the user's name."""

    by: str
    at: datetime


def taken_back(session: Session, event_ids: Collection[UUID]) -> set[UUID]:
    """Those of these events whose visitor said later that consent is not given, as the last word that there is."""
    return {event_id for event_id, is_given in last_words(session, event_ids).items() if not is_given}


def last_words(session: Session, event_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Event → whether consent was given when the form was sent again last. Of two at one moment the no counts."""
    said = (Resubmission.event_id.in_(event_ids), Resubmission.consent_given.is_not(None))
    in_order = (Resubmission.received_at, Resubmission.consent_given.desc())
    words = select(Resubmission.event_id, Resubmission.consent_given).where(*said).order_by(*in_order)
    return {event_id: bool(is_given) for event_id, is_given in session.execute(words)} if event_ids else {}


def noted_columns() -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """`by` and `at` of an Event that is selected. Nothing is looked for where the visitor gave it, as most do."""
    return _first(Action.user_name), _first(Action.at)


def noted(session: Session, event: Event) -> Noted | None:
    """Who said it of this event; None where nobody had to, or nobody is known."""
    by, at = session.execute(select(*noted_columns()).where(Event.id == event.id)).one()
    return Noted(by, at) if by else None


def _first(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    told = aliased(Delivery)
    first = (
        select(column)
        .join(told, told.id == Action.delivery_id)
        .where(told.event_id == Event.id, Action.what == "consent_given")
        .order_by(Action.id)
        .limit(1)
        .correlate(Event)
        .scalar_subquery()
    )
    return case((Event.consent_given.is_not(True) & (Event.kind == "consultation_request"), first))
