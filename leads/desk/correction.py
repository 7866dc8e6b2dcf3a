"""The form on a refused lead's page: which details it asks for, what stands in it, and what was understood."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from marshmallow import EXCLUDE

from leads.desk import words
from leads.fields import PersonSchema, tells_more
from leads.store import outbox
from leads.store.corrections import CORRECTABLE
from leads.store.holds import LOOK_FIRST
from leads.store.models import Delivery, Event
from leads.store.queries.journey import Journey

# The CRM took these and lost them, or never said: the details are not what is wrong.
_NOT_THE_DETAILS = ("missing", LOOK_FIRST)
_PARTS = {"full_name": ("first_name", "last_name")}  # what a CRM with one field for the name calls wrong
_TYPES = {"email": "email", "phone": "tel"}


class Input(NamedTuple):
    """One detail on the form. error: what is wrong with what was typed."""

    name: str
    label: str
    type: str
    value: str
    error: str


class Correction(NamedTuple):
    """The form to correct what one delivery was refused for. by_hand: somebody has taken care of it since."""

    delivery_id: UUID
    connection: str
    sentence: str
    inputs: list[Input]
    by_hand: bool


def correction_of(
    journey: Journey, typed: Mapping[str, str] | None = None, errors: Mapping[str, Any] | None = None
) -> Correction | None:
    """The form for the first delivery of this lead that correcting may help; None when there is none. What somebody
    took care of comes after what waits.

    typed, errors: what was sent before, and what was wrong with it.
    """
    ways = [(way, story.event) for story in journey.events for way in story.deliveries]
    for way, event in [] if journey.lead.is_test else sorted(ways, key=lambda one: outbox.is_by_hand(one[0].delivery)):
        if not way.connection.removed_at and (names := asked(way.delivery, event)):
            beside = _beside(names, errors or {})
            inputs = [_input(name, journey.person, typed or {}, beside.get(name, "")) for name in names]
            told, by_hand = way.delivery.sentence or "", outbox.is_by_hand(way.delivery)
            return Correction(way.delivery.id, way.connection.name, told, inputs, by_hand)
    return None


def asked(delivery: Delivery, event: Event) -> tuple[str, ...]:
    """Which details a correction may change: the one that the CRM named, all of them when it named none, or when
    somebody took care of it."""
    if outbox.may_go_after_all(delivery, event):
        return () if delivery.unknown else CORRECTABLE
    if delivery.state != "refused" or delivery.code in _NOT_THE_DETAILS:
        return ()
    if delivery.field is None:
        return CORRECTABLE
    return _PARTS.get(delivery.field, tuple(name for name in CORRECTABLE if name == delivery.field))


def _beside(names: Sequence[str], errors: Mapping[str, Any]) -> dict[str, str]:
    """Each error beside its field; what is said of a field that is not asked for stands beside the first."""
    found: dict[str, list[str]] = {}
    for name, sentences in errors.items():
        found.setdefault(name if name in names else names[0], []).extend(sentences)
    return {name: " ".join(sentences) for name, sentences in found.items()}


def _input(name: str, person: Mapping[str, str], typed: Mapping[str, str], error: str) -> Input:
    known = _phone(person) if name == "phone" else person.get(name, "")
    return Input(name, words.ANSWERS[name], _TYPES.get(name, "text"), typed.get(name, known), error)


def _phone(person: Mapping[str, str]) -> str:
    return person.get("phone_typed", person.get("phone", ""))


def understood(
    person: Mapping[str, str], region: str, names: Iterable[str], typed: Mapping[str, str]
) -> dict[str, str]:
    """What was typed, by the rules of the visitor's own form. Raises marshmallow's ValidationError."""
    asked_for = {name: typed.get(name, "").strip() for name in names}
    details = {name: person.get(name, "") for name in CORRECTABLE} | asked_for
    found: dict[str, str] = PersonSchema(region, unknown=EXCLUDE).load(details)
    number, stood = found.get("phone", ""), _phone(person)
    entered = asked_for.get("phone", stood)
    # What the visitor typed is not how another number was written, and an extension may come or go.
    if number != person.get("phone", "") or (entered != stood and tells_more(entered + stood)):
        found["phone_typed"] = entered if tells_more(entered) else number
    return found
