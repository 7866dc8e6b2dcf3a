"""To which wording visitors agreed, and who of the clinic has said so, where the visitor had not on the form."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, select, true, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from leads.store.models import Action, Delivery, Event, Resubmission

OF_THE_FORM = "of the form itself"  # or of no version that the site had: what was sent of it stands among the answers


def wording(version: str | None) -> str:
    """What visitors were asked to agree to, in words. version: which of the site's; None: no wording of the site."""
    return f"wording {version or OF_THE_FORM}"


class Noted(NamedTuple):
    """That consent was given. by: the user's name."""

    by: str
    at: datetime


def taken_back(session: Session, event_ids: Collection[UUID]) -> set[UUID]:
    """Those of these events of which it was said later that consent is not given, as the last word that there is."""
    return {event_id for event_id, is_given in last_words(session, event_ids).items() if not is_given}


def last_words(session: Session, event_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Event → whether consent was given, as its visitor said when sending the form again or staff noted, whichever came
    last. Of two at one moment the no counts."""
    if not event_ids:
        return {}
    again = (Resubmission.event_id, Resubmission.received_at, Resubmission.consent_given)
    said = select(*again).where(Resubmission.event_id.in_(event_ids), Resubmission.consent_given.is_not(None))
    noted = select(Delivery.event_id, Action.at, true()).join(Delivery, Delivery.id == Action.delivery_id)
    noted = noted.where(Delivery.event_id.in_(event_ids), Action.what == "consent_given")
    words = [(at, not is_given, event_id) for rows in (said, noted) for event_id, at, is_given in session.execute(rows)]
    return {event_id: not is_no for _, is_no, event_id in sorted(words)}


def newest_word(session: Session, event_id: UUID) -> datetime | None:
    """When anything was last said of this event's consent; None where nothing was but the form itself."""
    again = select(Resubmission.received_at).where(Resubmission.event_id == event_id)
    noted = select(Action.at).join(Delivery, Delivery.id == Action.delivery_id)
    noted = noted.where(Delivery.event_id == event_id, Action.what == "consent_given")
    words = session.scalars(union_all(again, noted)).all()
    return max(words, default=None)


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
