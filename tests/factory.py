"""Short ways to make the things that tests are about."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from leads.store import codes, outbox
from leads.store.models import Connection, Delivery, Event, Site, Unreadable, new_id
from leads.store.outbox import Accepted, NewEvent
from leads.store.people import NOBODY, join, save
from leads.store.queries.unreadable import THROUGH_PLUGIN
from leads.store.session import Database
from leads.store.sites import add_site
from leads.store.vault import Vault

_GROUP = 32  # as the intake's groups


def make_site(database: Database, key: str = "demo", name: str = "Sunrise", **more: Any) -> Site:
    with database.write() as session:
        now = database.now(session)
        return add_site(session, key=key, name=name, region="US", time_zone="America/New_York", now=now, **more)


def make_connection(
    database: Database, vault: Vault, site: Site, options: dict[str, str] | None = None, **more: Any
) -> Connection:
    with database.write() as session:
        now = database.now(session)
        values: dict[str, Any] = {
            "id": new_id(),
            "site_id": site.id,
            "kind": "sandbox",
            "name": "Sandbox CRM",
            "fields": {"first_name": "first_name", "last_name": "last_name", "email": "email", "phone": "phone"},
            "share": ["preferred_time"],
            "unknown_callers": "record",
            "state": "working",
            "state_since": now,
            "failures": 0,
            "probes": 0,
            "created_at": now,
        } | more
        connection = Connection(**values)
        options = options or {"url": "http://127.0.0.1:1", "key": "sandbox-key"}
        connection.options_sealed = vault.seal(options, "connection", "options", connection.id)
        session.add(connection)
    return connection


def send(
    database: Database,
    vault: Vault,
    site: Site,
    kind: str = "consultation_request",
    client_id: str | None = None,
    visitor_id: str | None = None,
    consent: bool | None = True,
    suspicion: str | None = None,
    wording: str | None = "1",
    unique: bool = False,
    **answers: Any,
) -> Accepted:
    """One event, as the intake hands it over. consent: None where nobody asked, as at a tap. wording: None
    for a form's own. unique: as in `NewEvent`."""
    asked = kind == "consultation_request" and consent is not None
    event = NewEvent(
        site_id=site.id,
        kind=kind,
        client_id=client_id or str(new_id()),
        visitor_id=visitor_id,
        answers=answers,
        source="website",
        consent_given=consent if asked else None,
        consent_version=wording if asked else None,
        suspicion=suspicion,
        unique=unique,
    )
    [accepted] = outbox.accept(database, vault, [event])
    return accepted


def send_many(
    database: Database,
    vault: Vault,
    site: Site,
    times: Iterable[datetime],
    connection: Connection | None = None,
    kind: str = "consultation_request",
    state: str = "confirmed",
) -> None:
    """Many events of one person, as they would have come at these times, with deliveries where there is a connection.

    Quick, since it goes past the outbox; what they say cannot be read.
    """
    with database.write() as session:
        now = database.now(session)
        lead = join(session, vault, site.id, NOBODY, [], code=codes.draw(), now=now)
        save(session, [(lead, NOBODY)], now)
        events = [
            {
                "id": new_id(),
                "site_id": site.id,
                "lead_id": lead.id,
                "kind": kind,
                "client_digest": new_id().bytes,
                "body_digest": new_id().bytes,
                "answers_sealed": b"",
                "source": "website",
                "received_at": time,
            }
            for time in times
        ]
        deliveries = [
            {
                "id": new_id(),
                "event_id": event["id"],
                "connection_id": connection.id,
                "lead_id": lead.id,
                "state": state,
                "due_at": event["received_at"],
                "attempts": 0,
                "unknown": False,
                "missing": 0,
                "created_at": event["received_at"],
                "tries_from": event["received_at"],
            }
            for event in events
            if connection
        ]
        session.execute(insert(Event), events)
        if deliveries:
            session.execute(insert(Delivery), deliveries)


def send_in_groups(database: Database, vault: Vault, site: Site, number: int) -> None:
    """So many enquiries, each of another person, stored as the intake stores a crowd."""
    for start in range(0, number, _GROUP):
        some = [_stranger(site, str(new_id())) for _ in range(min(_GROUP, number - start))]
        outbox.accept(database, vault, some)


def _stranger(site: Site, mark: str) -> NewEvent:
    return NewEvent(
        site_id=site.id,
        kind="consultation_request",
        client_id=mark,
        visitor_id=None,
        answers={
            "first_name": "Maria",
            "last_name": "Example",
            "email": f"maria.{mark}@example.com",
            "preferred_time": "weekday mornings",
            "message": "I would like to know whether an implant is possible.",
        },
        source="website",
        consent_given=True,
        consent_version="1",
    )


def make_unreadable(database: Database, site: Site | None, *, of_plugin: bool = False, **more: Any) -> Unreadable:
    """A message that could not be understood. of_plugin: it came to the secret address."""
    with database.write() as session:
        values: dict[str, Any] = {
            "id": new_id(),
            "site_id": site.id if site else None,
            "body_digest": new_id().bytes,
            "body_sealed": b"x",
            "reason": "No fields." + THROUGH_PLUGIN * of_plugin,
            "received_at": database.now(session),
        }
        row = Unreadable(**values | more)
        session.add(row)
    return row
