"""A claimed delivery in the words of its CRM: only what the connection maps, and only what may be shared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from integrations.core.base import EventKind, Item
from integrations.core.errors import DeliveryError, Refused
from integrations.core.registry import connector
from leads.store.models import Connection, Event
from leads.store.outbox import Claimed
from leads.store.people import PERSON_FIELDS, person_of
from leads.store.vault import Vault
from leads.sync import mapping
from leads.sync.calls import log_bug

TITLES = {"consultation_request": "Consultation request", "call_click": "Tapped “Call us”"}
# Minimum necessary: the free-text message and the page are health data, so they go only where a person mapped them.
DEFAULT_SHARE = ["preferred_time", "preferred_contact", "service", "reference", "site", "source", "consent"]


def build(vault: Vault, connection: Connection, claimed: Claimed) -> Item:
    """Translate. Raises VaultError when the data cannot be decrypted."""
    event, lead = claimed.event, claimed.lead
    answers = _details(vault, claimed)
    facts = {**answers, **_facts(claimed)}
    may_be_named = lead.known and lead.shareable
    person = person_of(vault, lead) if may_be_named else _caller(lead.code)
    rules = rules_of(connection)
    differing = _differing(answers, person, mapping.mapped(rules)) if may_be_named else {}
    always, when_empty = mapping.apply(rules, {**facts, **dict.fromkeys(PERSON_FIELDS, ""), **_named(person)})
    return Item(
        lead_id=str(lead.id),
        event_id=str(event.id),
        kind=cast(EventKind, event.kind),
        occurred_at=event.received_at,
        title=TITLES[event.kind],
        record=always,
        fill=when_empty,
        activity={name: str(facts[name]) for name in connection.share if facts.get(name)} | differing,
        remote_id=claimed.remote_id,
    )


def build_all(vault: Vault, connection: Connection, claimed: Iterable[Claimed]) -> list[Item | DeliveryError]:
    """Translate each. One that cannot be translated needs a person, and holds up no other."""
    return [_build_or_error(vault, connection, one) for one in claimed]


def _build_or_error(vault: Vault, connection: Connection, claimed: Claimed) -> Item | DeliveryError:
    try:
        return build(vault, connection, claimed)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not stop the others
        log_bug(error)
        return Refused("unreadable", "Frontdesk cannot read this enquiry any more. Ask whoever looks after the server.")


def _caller(code: str) -> dict[str, str]:
    return {"first_name": "Caller", "last_name": code}


def rules_of(connection: Connection) -> Sequence[mapping.Rule]:
    """The mapping of a connection."""
    return mapping.default_rules(connector(connection.kind)) if connection.mapping is None else connection.mapping


def _named(person: Mapping[str, str]) -> dict[str, str]:
    whole = " ".join(text for name in ("first_name", "last_name") if (text := person.get(name)))
    return {**person, "full_name": whole}


def _differing(answers: Mapping[str, Any], person: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """What this enquiry says otherwise than the record does, such as a corrected phone number: the record keeps what
    stood first, since anybody can type a patient's e-mail into a form, but whoever reads the activity must see it."""
    given = {name: str(answers[name]) for name in PERSON_FIELDS if name in fields and answers.get(name)}
    return {f"{name}_given": value for name, value in given.items() if value != person.get(name)}


def _details(vault: Vault, claimed: Claimed) -> dict[str, Any]:
    answers: dict[str, Any] = vault.open(claimed.event.answers_sealed, "event", "answers", claimed.event.id)
    return answers


def _facts(claimed: Claimed) -> dict[str, str]:
    event = claimed.event
    return {
        "reference": claimed.lead.code,
        "site": claimed.site.name,
        "source": event.source,
        "consent": _consent(event),
    }


def _consent(event: Event) -> str:
    if event.consent_given is None:
        return ""
    # One that was not given on the form goes out only after a person of the clinic has said that it was given.
    return f"given, wording {event.consent_version}" if event.consent_given else "given later, to the clinic"
