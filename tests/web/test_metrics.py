"""/metrics: for whoever has the token, right at every scrape, and nothing personal in it."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import delete, select, update

from config.settings import load_settings
from leads.app import create_app
from leads.store.alerts import Condition, settle
from leads.store.models import Connection, Delivery, Site
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.alerts import KINDS
from tests.factory import make_unreadable, send
from tests.web.desk import beat, set_state

TOKEN = "a-token-of-some-length"
JANE = {"first_name": "Jane", "last_name": "Needleworth", "email": "needle@example.com", "phone": "+12015550177"}


@pytest.fixture
def scraped(
    database: Database, site: Site, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    monkeypatch.setattr("leads.app.Database", lambda _url, **_: database)
    settings = load_settings({}, database_url=database_url, data_dir=str(tmp_path), metrics_token=TOKEN)
    with database.write() as session:
        session.execute(update(Connection).values(created_at=database.now(session) - timedelta(days=3)))
    return create_app(settings).test_client()


def samples(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """(name, labels' values but ids …) → value."""
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert "needle" not in answer.text.lower()
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "connection")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_there_is_no_such_page_without_a_token(client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"bearer  {TOKEN}x", "Bearer ü"]
)
def test_only_who_has_the_token_may_read(scraped: FlaskClient, given: str | None) -> None:
    headers = {"Authorization": given} if given is not None else {}
    answer = scraped.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert "frontdesk" not in answer.text


def test_they_are_what_the_rows_say(scraped: FlaskClient, database: Database, vault: Vault, site: Site) -> None:
    empty = samples(scraped)
    assert empty["frontdesk_captured", "today", "demo"] == 0
    assert empty["frontdesk_balance_closes", "today", "demo"] == 1
    assert empty["frontdesk_connection_up", "Sandbox CRM", "demo"] == 1
    assert empty["frontdesk_oldest_waiting_seconds", "Sandbox CRM", "demo"] == 0
    assert (empty["frontdesk_unreadable", "demo"], empty["frontdesk_unreadable", ""]) == (0, 0)
    assert not any(name[0] == "frontdesk_worker_seen_timestamp_seconds" for name in empty)

    beat(database)
    set_state(database, send(database, vault, site, **JANE).event_id, "refused")
    send(database, vault, site, consent=False, **JANE)
    waiting = send(database, vault, site, **JANE)
    lost = send(database, vault, site, **JANE)
    with database.write() as session:
        now = database.now(session)
        earlier = {"tries_from": now - timedelta(minutes=5)}
        session.execute(update(Delivery).where(Delivery.event_id == waiting.event_id).values(earlier))
        session.execute(delete(Delivery).where(Delivery.event_id == lost.event_id))
        session.execute(update(Connection).values(state="failing"))
        connection = session.scalars(select(Connection)).one()
        broken = Condition("connection", str(connection.id), "Broken.", connection.id)
        open_now = [Condition("late", "demo", "Late."), broken, Condition("worker", "worker", "Silent.")]
        settle(session, open_now, KINDS, now)
    for whose in (site, site, None):
        make_unreadable(database, whose)
    make_unreadable(database, site, seen_at=now)
    found = samples(scraped)
    assert found["frontdesk_captured", "today", "demo"] == 4
    assert found["frontdesk_balance", "today", "demo", "refused"] == 1
    assert found["frontdesk_balance", "today", "demo", "waiting"] == 1
    assert found["frontdesk_balance_closes", "today", "demo"] == 0
    assert found["frontdesk_balance_closes", "yesterday", "demo"] == 1
    assert found["frontdesk_connection_up", "Sandbox CRM", "demo"] == 0
    assert 300 <= found["frontdesk_oldest_waiting_seconds", "Sandbox CRM", "demo"] < 330
    assert found["frontdesk_need_a_person", "Sandbox CRM", "demo"] == 2
    assert found["frontdesk_worker_seen_timestamp_seconds",] > now.timestamp() - 60
    assert (found["frontdesk_unreadable", "demo"], found["frontdesk_unreadable", ""]) == (2, 1)
    told = {labels: found["frontdesk_alerts_open", *labels] for labels in product((*KINDS, "mail"), ("demo", ""))}
    assert [labels for labels, number in told.items() if number] == [
        ("late", "demo"),
        ("connection", "demo"),
        ("worker", ""),
    ]
    assert any(name[0] == "frontdesk_build_info" for name in found)
