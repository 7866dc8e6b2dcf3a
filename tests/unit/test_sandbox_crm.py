"""The sandbox CRM: what people may do in it by hand, its newer faults, and being a CRM without keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sandbox_crm.app import create_app
from sandbox_crm.store import Store

HEADERS = {"Authorization": "Bearer key"}
FIRST_VERSION = """
CREATE TABLE contact (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    external_id TEXT NOT NULL UNIQUE, email TEXT UNIQUE, properties TEXT NOT NULL);
CREATE TABLE activity (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    external_id TEXT NOT NULL UNIQUE, contact_id TEXT NOT NULL, kind TEXT NOT NULL, occurred_at TEXT NOT NULL,
    title TEXT NOT NULL, properties TEXT NOT NULL);
CREATE INDEX activity_by_contact ON activity (contact_id);
INSERT INTO contact VALUES (1, 'c1', 'lead-1', 'jane@example.com', '{"email": "jane@example.com"}');
INSERT INTO activity VALUES (1, 'a1', 'event-1', 'c1', 'call_click', 'now', 'Call', '{}');
"""


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    with closing(Store()) as store:
        yield create_app(store, "key").test_client()


def upsert(client: FlaskClient, lead: str = "lead-1", email: str = "jane@example.com", **more: Any) -> dict[str, Any]:
    body = {"inputs": [{"external_id": lead, "properties": {"email": email}} | more]}
    answer = client.post("/v1/contacts/batch/upsert", json=body, headers=HEADERS).get_json()
    return dict(answer)


def contacts(client: FlaskClient) -> list[dict[str, Any]]:
    return list(client.get("/contacts.json").get_json()["contacts"])


def test_a_copy_made_by_hand_has_no_external_id_and_the_same_email(client: FlaskClient) -> None:
    made = upsert(client)["results"][0]["id"]
    answer = client.post(f"/contacts/{made}/duplicate")
    copy, original = contacts(client)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/contacts/{copy['id']}"
    assert (copy["external_id"], copy["properties"]) == (None, original["properties"])
    found = client.post("/v1/search", json={"emails": ["JANE@example.com"]}, headers=HEADERS).get_json()
    assert len(found["contacts"]) == 2
    assert "Duplicate this record" in client.get(f"/contacts/{copy['id']}").text


def test_a_property_is_changed_by_hand(client: FlaskClient) -> None:
    made = upsert(client)["results"][0]["id"]
    client.post(f"/contacts/{made}/edit", data={"name": "email", "value": "new@example.com"})
    assert contacts(client)[0]["properties"] == {"email": "new@example.com"}
    assert (
        client.post("/v1/search", json={"emails": ["jane@example.com"]}, headers=HEADERS).get_json()["contacts"] == []
    )
    assert client.post("/contacts/none/edit", data={"name": "email", "value": ""}).status_code == 404
    assert client.post(f"/contacts/{made}/edit", data={"value": ""}).status_code == 400
    assert client.post("/contacts/none/duplicate").status_code == 404


def test_an_activity_is_deleted_by_hand(client: FlaskClient) -> None:
    made = upsert(client)["results"][0]["id"]
    activity = {"external_id": "e", "contact_id": made, "kind": "k", "occurred_at": "o", "title": "t"}
    client.post("/v1/activities/batch/upsert", json={"inputs": [activity]}, headers=HEADERS)
    [held] = contacts(client)[0]["activities"]
    client.post(f"/contacts/{made}/activities/{held['id']}/delete")
    assert contacts(client)[0]["activities"] == []


def test_without_keys_each_write_that_names_no_id_makes_a_record(client: FlaskClient) -> None:
    assert client.put("/house", json={"unique": False}).get_json() == {"unique": False}
    made = upsert(client)["results"][0]["id"]
    upsert(client)
    upsert(client, id=made)
    assert len(contacts(client)) == 2
    found = client.post("/v1/search", json={"external_ids": ["lead-1"]}, headers=HEADERS).get_json()
    assert len(found["contacts"]) == 2
    client.put("/house", json={"unique": True})
    upsert(client, "lead-2", "else@example.com")
    upsert(client, "lead-2", "else@example.com")
    assert len(contacts(client)) == 3
    assert client.put("/house", json={"unique": "perhaps"}).status_code == 400


def test_no_id_says_yes_and_leaves_the_id_out(client: FlaskClient) -> None:
    client.put("/faults", json={"no_id": True})
    assert upsert(client)["results"] == [{"external_id": "lead-1", "new": True}]
    assert len(contacts(client)) == 1


def test_late_write_keeps_it_only_after_a_while(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    held_while_waiting: list[int] = []
    monkeypatch.setattr("sandbox_crm.api.time.sleep", lambda _: held_while_waiting.append(len(contacts(client))))
    client.put("/faults", json={"late_write": 4})
    upsert(client)
    client.post("/v1/search", json={}, headers=HEADERS)
    assert held_while_waiting == [0], "only writes are late, and nothing is kept before"
    assert len(contacts(client)) == 1


def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite3"
    with sqlite3.connect(path) as old:
        old.executescript(FIRST_VERSION)
    old.close()
    for _ in range(2):  # and opened again as it is
        with closing(Store(str(path))) as store:
            [contact] = store.find(["c1"])
            assert [one["external_id"] for one in contact["activities"]] == ["event-1"]
    with closing(Store(str(path))) as store:
        assert store.duplicate("c1")
        assert store.count() == (2, 1)
