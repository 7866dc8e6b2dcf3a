"""A claimed delivery in the words of its CRM: only what the connection maps, and only what may be shared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, cast
from zoneinfo import ZoneInfo

from integrations.core.base import EventKind, Item
from integrations.core.errors import DeliveryError, Refused, TryLater
from leads.fields import tells_more
from leads.store.codes import reference_of
from leads.store.consents import Noted, wording
from leads.store.models import Connection, Event, Lead, Site
from leads.store.outbox import Claimed, EventRow, LeadRow, SiteRow
from leads.store.people import PERSON_FIELDS, answers_of, person_of
from leads.store.vault import UnknownKeyError, Vault, VaultError
from leads.sync import mapping
from leads.sync.calls import log_bug
from leads.sync.plan import Plan, plan_of
from leads.sync.retry import BUG

LACKS_KEY = (
    "This server lacks a key that the enquiry, or the connection, is encrypted with. Whoever looks after it copies the "
    "key file from where the keys were rotated, or restores it from the safe place."
)
TITLES = {"consultation_request": "Consultation request", "call_click": "Tapped “Call us”"}


class Enquiry(Protocol):
    """What is to be told to a CRM, claimed or only looked at. remote_id: the person's record there, if it is known.
    consent: who of the clinic said that it was given, where the visitor had not."""

    @property
    def event(self) -> Event | EventRow: ...
    @property
    def lead(self) -> Lead | LeadRow: ...
    @property
    def site(self) -> Site | SiteRow: ...
    @property
    def remote_id(self) -> str | None: ...
    @property
    def consent(self) -> Noted | None: ...


def translate(vault: Vault, plan: Plan, enquiry: Enquiry) -> Item:
    """Translate as this plan says, which need not be in use. Raises VaultError when the data cannot be decrypted."""
    event, lead = enquiry.event, enquiry.lead
    answers = answers_of(vault, event)
    came = mapping.touches(answers.get("attribution", {}))
    facts = {**came, **mapping.own_answers(answers), **answers, **_facts(enquiry)}
    may_be_named = lead.known and lead.shareable
    person = person_of(vault, lead) if may_be_named else _caller(lead.code)
    differing = _differing(answers, person, mapping.mapped(plan.rules)) if may_be_named else {}
    always, when_empty = mapping.apply(plan.rules, {**facts, **dict.fromkeys(PERSON_FIELDS, ""), **_named(person)})
    # The record keeps the person's own code; the activity tells the one that this visitor can say.
    shared = {**facts, "reference": reference_of(event, lead)}
    return Item(
        lead_id=str(lead.id),
        event_id=str(event.id),
        kind=cast(EventKind, event.kind),
        occurred_at=event.received_at.astimezone(ZoneInfo(enquiry.site.time_zone)),
        title=TITLES[event.kind],
        record=always,
        fill=when_empty,
        activity={name: str(shared[name]) for name in plan.share if shared.get(name)} | differing,
        remote_id=enquiry.remote_id,
        stopgaps=lambda: mapping.stopgaps(plan.rules, _named(_caller(lead.code))),
    )


def build_all(vault: Vault, connection: Connection, claimed: Iterable[Claimed]) -> list[Item | DeliveryError]:
    """Translate each. One that cannot be translated holds up no other."""
    plan = plan_of(connection)
    return [_of_this_delivery(build(vault, plan, one), one) for one in claimed]


def _of_this_delivery(built: Item | DeliveryError, claimed: Claimed) -> Item | DeliveryError:
    taken_at = claimed.delivery.sent_at
    return replace(built, taken_at=taken_at) if taken_at and isinstance(built, Item) else built


def build(vault: Vault, plan: Plan, enquiry: Enquiry) -> Item | DeliveryError:
    """Translate as this plan says, or tell that it cannot be done."""
    try:
        return translate(vault, plan, enquiry)
    except UnknownKeyError:
        return TryLater("lacks_key", LACKS_KEY)  # another host may have it, or this one soon
    except VaultError as error:
        log_bug(error)
        return Refused("unreadable", "Frontdesk cannot read this enquiry any more. Ask whoever looks after the server.")
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not stop the others
        log_bug(error)
        return TryLater(*BUG)  # nothing was sent, and the next version may know better


def _caller(code: str) -> dict[str, str]:
    return {"first_name": "Caller", "last_name": code}


def _named(person: Mapping[str, str]) -> dict[str, str]:
    whole = " ".join(text for name in ("first_name", "last_name") if (text := person.get(name)))
    return {**person, "full_name": whole}


def _differing(answers: Mapping[str, Any], person: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """What this enquiry says otherwise than the record does, such as a corrected phone number: the record keeps what
    stood first, since anybody can type a patient's e-mail into a form, but whoever reads the activity must see it."""
    given = {name: str(answers[name]) for name in PERSON_FIELDS if name in fields and answers.get(name)}
    differing = {f"{name}_given": value for name, value in given.items() if value != person.get(name)}
    return differing | (_beside_the_number(answers, person) if "phone" in fields else {})


def _beside_the_number(answers: Mapping[str, Any], person: Mapping[str, str]) -> dict[str, str]:
    """What was typed beside a phone number, by a visitor or by staff: no record has room for it."""
    kept, typed = (str(told.get("phone_typed", "")) for told in (person, answers))
    both = {"phone_typed": kept, "phone_typed_given": "" if typed == kept else typed}
    return {name: text for name, text in both.items() if tells_more(text)}


def _facts(enquiry: Enquiry) -> dict[str, str]:
    event = enquiry.event
    return {
        "reference": enquiry.lead.code,
        "site": enquiry.site.name,
        "source": event.source,
        "consent": _consent(enquiry),
    }


def _consent(enquiry: Enquiry) -> str:
    event, zone = enquiry.event, enquiry.site.time_zone
    if event.consent_given is None and event.kind == "call_click":
        return ""
    if event.consent_given:
        return f"given {_when(event.received_at, zone)}, {wording(event.consent_version)}"
    # One that was not given on the form, or not asked for, goes out only after a person of the clinic has said it was.
    noted = enquiry.consent
    return "given later, to the clinic" + (f"; noted {_when(noted.at, zone)} by {noted.by}" if noted else "")


def _when(moment: datetime, zone: str) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} ({zone})"
