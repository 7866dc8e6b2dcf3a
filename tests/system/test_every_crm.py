"""The main job against a pretend CRM of every kind: 500 events, each third sent twice, one call in five failing in that
CRM's own ways, a worker killed in the midst. In the end each person and each event is there once, and nothing is lost.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import func, select

from integrations.core.base import Connector
from integrations.core.registry import kinds
from leads.store import outbox
from leads.store.holds import LOOK_FIRST
from leads.store.models import Connection, Delivery, RemoteRecord
from leads.store.queries.enquiries import latest_enquiries
from leads.sync.connect import Limits
from leads.sync.item import translate
from leads.sync.plan import plan_of
from leads.sync.setup import Setup
from tests.chaos.zygote import Zygote
from tests.factory import make_site
from tests.posts import call_click, email_of, enquiry
from tests.pretend import pretend_crms
from tests.pretend.server import PretendCrm, Reply, Request
from tests.programs import Process, Programs, wait_for

KINDS = pretend_crms()
FORMS, PEOPLE, CLICKS, STRANGERS = 400, 300, 60, 40  # clicks: by people who also send a form, before it or after
SECONDS = 6  # for which the faults go on after the last visitor
_AN_ID = re.compile(r"[\w-]*\d[\w-]*")  # a part of a path that names one record
LEASE, TIMEOUT = 4, 1  # seconds
TURNS = [pytest.param(kind, marks=pytest.mark.xdist_group(f"crm-{number % 2}")) for number, kind in enumerate(KINDS)]


def test_there_is_a_pretend_crm_of_every_kind() -> None:
    assert kinds().keys() - KINDS.keys() == {"sandbox"}, "that one is a server of its own"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", TURNS)
def test_every_enquiry_is_there_once(kind: str, tmp_path: Path, database_url: str, zygote: Zygote) -> None:
    began, posts = time.monotonic(), _plan(random.Random(kind))
    net = {"allowed_private_hosts": "127.0.0.1", "crm_timeout": str(TIMEOUT), "lease_seconds": str(LEASE)}
    with KINDS[kind](late=TIMEOUT + 0.3) as crm, Programs(tmp_path, database_url, zygote=zygote, **net) as programs:
        clinic = _connect(programs, crm)
        programs.web()
        worker = programs.worker()
        crm.faults_rate = 0.2
        _break_each_write(crm)
        sent = _send(programs, posts[: len(posts) // 2])
        _kill_at_the_next_write(worker, clinic)
        programs.worker()
        sent |= _send(programs, posts[len(posts) // 2 :])
        until = time.monotonic() + SECONDS
        clinic.wait(lambda: time.monotonic() > until or clinic.is_settled(), "it goes on like that for a while")
        crm.faults_rate = 0
        clinic.wait(clinic.is_settled, "all has arrived or needs a person")
        if clinic.connector.tier == "C":
            clinic.see_to_what_broke_off()
        wait_for(lambda: len(crm.people()) == PEOPLE + STRANGERS, 30)
        assert crm.bugs == []
        _assert_once(crm, sent)
        assert clinic.states() == {clinic.proof: len(posts)}
        clinic.assert_told()
        print(f"{kind}: {len(crm.calls)} calls, {time.monotonic() - began:.1f} s")


@dataclass(frozen=True)
class Clinic:
    """One that has connected its CRM, and whose staff look after it."""

    programs: Programs
    desk: Setup
    crm: PretendCrm
    connection_id: UUID

    @property
    def connector(self) -> Connector:
        with self.programs.database.read() as session:
            found = self.desk.connector(session.get_one(Connection, self.connection_id))
        assert found
        return found

    @property
    def proof(self) -> str:
        """The state in which a delivery there ends well."""
        return "confirmed" if self.connector.readable else "sent"

    def states(self) -> dict[str, int]:
        with self.programs.database.read() as session:
            rows = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
        return dict(rows)

    def is_settled(self) -> bool:
        return set(self.states()) <= {self.proof, "refused"}

    def wait(self, what: Callable[[], bool], why: str) -> None:
        """Staff press “Resume” rather than wait for the next probe."""
        until = time.monotonic() + 150
        while not what():
            assert time.monotonic() < until, f"not in time: {why}; {self.states()}, {self.crm.calls[-20:]}"
            with self.programs.database.read() as session:
                row = session.get_one(Connection, self.connection_id)
            if row.state == "failing" or row.wait_until:
                self.desk.resume(self.connection_id)
            time.sleep(0.3)

    def assert_told(self) -> None:
        """The latest leads' records hold all that is mapped: also the name of who called before she gave it."""
        with self.programs.database.read() as session:
            connection = session.get_one(Connection, self.connection_id)
            found = latest_enquiries(session, connection.site_id, 60)
            records = {row.lead_id: row.remote_id for row in session.scalars(select(RemoteRecord))}
        known = [one._replace(remote_id=records[one.lead.id]) for one in found]
        items = [translate(self.programs.vault, plan_of(connection), one).in_full() for one in known]
        size = self.connector.batch_size
        for part in (items[start : start + size] for start in range(0, len(items), size)):
            for item, held in zip(part, self.connector.current(part), strict=True):
                if held is not None or self.connector.readable:
                    assert {name: (held or {}).get(name) for name in item.record} == item.record

    def see_to_what_broke_off(self) -> None:
        """Nothing was sent twice, the rest waits for a person, who sees to it that the CRM drops repeats."""
        with self.programs.database.read() as session:
            codes = set(session.scalars(select(Delivery.code).where(Delivery.state == "refused")))
        assert codes == {LOOK_FIRST}
        assert max(Counter(event for person in self.crm.people() for event in person.events).values()) == 1
        self.desk.replace(self.connection_id, self.crm.remedy())
        with self.programs.database.write() as session:
            for row in session.scalars(select(Delivery).where(Delivery.state == "refused")):
                outbox.requeue(row, self.programs.database.now(session))  # as “Send again” on each one's page does
        self.wait(lambda: set(self.states()) == {self.proof}, "what broke off has arrived")


def _plan(dice: random.Random) -> list[dict[str, Any]]:
    """All posts in the order in which they are sent. email: whose it is; "" for a stranger."""
    posts = [_form(number) for number in range(FORMS)]
    posts += [_click(number, f"visitor-{number}", email_of(number)) for number in range(CLICKS)]
    posts += [_click(CLICKS + number, f"stranger-{number}", "") for number in range(STRANGERS)]
    dice.shuffle(posts)
    return posts


def _form(number: int) -> dict[str, Any]:
    person = number % PEOPLE
    return {"path": "/api/v1/consultations", "email": email_of(person), "body": enquiry(number, person)}


def _click(number: int, visitor: str, email: str) -> dict[str, Any]:
    return {"path": "/api/v1/call-clicks", "email": email, "body": call_click(number, visitor)}


def _connect(programs: Programs, crm: PretendCrm) -> Clinic:
    """As a person connects it, but signed in already and without a pace."""
    desk = Setup(programs.database, programs.vault, Limits(LEASE, TIMEOUT, frozenset({"127.0.0.1"})), by="test")
    make_site(programs.database)
    connection = desk.create("demo", crm.kind, "", crm.settings())
    with programs.database.write() as session:
        row = session.get_one(Connection, connection.id)
        row.pace = None
        if crm.token:
            row.tokens_sealed = programs.vault.seal(dict(crm.token), "connection", "tokens", row.id)
    assert [finding.sentence for finding in desk.test(connection.id) if not finding.ok] == []
    return Clinic(programs, desk, crm, connection.id)


def _send(programs: Programs, posts: list[dict[str, Any]]) -> dict[str, str]:
    """Eight browsers at once, each third post twice. Event id → the e-mail address of its person."""

    def browse(posts: list[dict[str, Any]]) -> dict[str, str]:
        sent = {}
        with requests.Session() as browser:
            for number, one in enumerate(posts):
                for _ in range(2 if number % 3 == 0 else 1):
                    answer = browser.post(programs.url + one["path"], json=one["body"], timeout=30)
                    assert answer.status_code == 201
                    sent[answer.json()["id"]] = one["email"]
        return sent

    with ThreadPoolExecutor(8) as browsers:
        return {
            event: email
            for part in browsers.map(browse, (posts[n::8] for n in range(8)))
            for event, email in part.items()
        }


def _break_each_write(crm: PretendCrm) -> None:
    """Beside what the dice bring: each sort of write breaks off once it is written, the second time and the fifth."""
    honest, times = crm.reply, Counter[tuple[str, str]]()

    def cutting(request: Request) -> tuple[Reply | None, float]:
        reply, seconds = honest(request)
        if request.method == "GET" or "token" in request.path or reply is None or reply.status >= 300:
            return reply, seconds
        sort = request.method, _AN_ID.sub("#", request.path)
        times[sort] += 1
        return (None, 0) if times[sort] in (2, 5) else (reply, seconds)

    crm.reply = cutting  # type: ignore[method-assign]  # for this one


def _kill_at_the_next_write(worker: Process, clinic: Clinic) -> None:
    """kill -9 in the midst of a call: the CRM has taken it, and nobody hears the answer."""
    crm, honest = clinic.crm, clinic.crm.reply

    def fatal(request: Request) -> tuple[Reply | None, float]:
        reply, seconds = honest(request)
        if request.method != "GET" and reply and reply.status < 300:
            worker.kill()
        return reply, seconds

    crm.reply = fatal  # type: ignore[method-assign]  # for this one
    clinic.wait(lambda: worker.poll() is not None, "the worker is killed")
    crm.reply = honest  # type: ignore[method-assign]


def _assert_once(crm: PretendCrm, sent: dict[str, str]) -> None:
    people = crm.people()
    assert Counter(event for person in people for event in person.events) == Counter(sent.keys())
    assert max(Counter(person.lead_id for person in people).values()) == 1, "a lead stands on two records"
    assert Counter(person.email for person in people if person.email) == Counter(set(sent.values()) - {""})
    strayed = [
        (person.email, sent[event]) for person in people for event in person.events if sent[event] != person.email
    ]
    assert strayed == [], "an event stands on somebody else's record"
