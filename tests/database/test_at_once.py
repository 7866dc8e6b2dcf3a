"""Two things happen at once, mostly to a connection while an enquiry comes in. (SQLite has one writer at a time.)"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from leads.store import callers, outbox
from leads.store.alerts import Condition, Pending, open_alerts, settle, tell
from leads.store.models import Connection, Delivery, Event, Lead, Site
from leads.store.outbox import Health, drift, lanes, outcomes, takeover
from leads.store.outbox.outcomes import report
from leads.store.outbox.replays import Chosen, replay_slice, start_replay
from leads.store.session import Database
from leads.store.sites import SiteError, add_site, change_site, consent_text, remove_site
from leads.store.staff import StaffError, add_user, find_user, remove_user
from leads.store.vault import Vault
from leads.sync import setup as naming
from leads.sync.connect import Limits
from leads.sync.options import SetupError
from leads.sync.setup import Setup
from tests.conftest import only_postgres
from tests.database.lanes import delivered, delivery_of, leased, outcome
from tests.database.loop import Loop
from tests.factory import make_connection, make_site, send

pytestmark = only_postgres
Answer = TypeVar("Answer")
Named = Callable[..., tuple[Connection, list[Future[Connection]]]]
OPTIONS = {"url": "https://crm.example.com", "key": "k"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def waits(pool: ThreadPoolExecutor, does: Callable[[], Answer]) -> Future[Answer]:
    """What has begun, and has to wait for whoever is in the way."""
    begun = pool.submit(does)
    with pytest.raises(TimeoutError):
        begun.result(0.5)
    return begun


@pytest.mark.parametrize(("does", "code"), [(outbox.remove, "removed"), (outbox.pause, "paused")])
def test_it_never_comes_to_wait_where_nobody_will_send_it(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    does: Callable[[Session, Connection, Any], object],
    code: str,
) -> None:
    def staff() -> None:
        with timed.write() as session:
            row = session.get_one(Connection, connection.id, with_for_update=True)
            does(session, row, timed.now(session))

    def meanwhile(*given: Any) -> Iterator[Any]:
        at_once.append(waits(pool, staff))
        yield from deliveries(*given)

    at_once: list[Future[None]] = []
    deliveries = outbox.arrivals._deliveries  # type: ignore[attr-defined]
    monkeypatch.setattr(outbox.arrivals, "_deliveries", meanwhile)  # type: ignore[attr-defined]
    event_id = send(timed, vault, site).event_id
    at_once[0].result(10)
    row = delivery_of(timed, event_id)
    assert (row.state, row.code) == ("held", code)


def replayed(database: Database, vault: Vault, site: Site) -> None:
    with database.write() as session:
        begun = start_replay(session, vault, Chosen("in_the_crm"), "anna", database.now(session))
    replay_slice(database, begun.id)


def released(database: Database, vault: Vault, site: Site) -> None:
    with database.write() as session:
        event = session.scalars(select(Event).where(Event.hold_code == "spam")).one()
        lead = session.get_one(Lead, event.lead_id, with_for_update=True)
        outbox.release_hold(session, vault, event, lead, database.now(session))


def joined(database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, visitor_id="v1", email="jane@example.com")


@pytest.mark.parametrize("does", [replayed, released, joined])
def test_what_is_sent_again_never_comes_to_wait_at_a_connection_that_is_removed_meanwhile(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    does: Callable[[Database, Vault, Site], None],
) -> None:
    send(timed, vault, site, email="jane@example.com")
    send(timed, vault, site, "call_click", visitor_id="v1")
    delivered(timed, connection)
    send(timed, vault, site, email="tom@example.com", suspicion="trap")
    with timed.write() as session:
        session.execute(update(Delivery).values(check_at=None))
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id, with_for_update=True), timed.now(session))
        session.flush()
        at_once = waits(pool, lambda: does(timed, vault, site))
    at_once.result(10)
    with timed.read() as session:
        assert "waiting" not in set(session.scalars(select(Delivery.state)))


def test_a_call_goes_though_its_connection_is_started_again_while_the_caller_becomes_known(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(*given: Any, **why: Any) -> Any:
        at_once.append(waits(pool, lambda: setup.resume(connection.id)))
        return go(*given, **why)

    at_once: list[Future[None]] = []
    setup, go = Setup(timed, vault, Limits(60, 20), "anna"), callers._go
    setup.change(connection.id, unknown_callers="wait")
    call = send(timed, vault, site, "call_click", visitor_id="v1").event_id
    setup.pause(connection.id)
    monkeypatch.setattr(callers, "_go", meanwhile)
    send(timed, vault, site, visitor_id="v1", email="jane@example.com")
    at_once[0].result(10)
    assert delivery_of(timed, call).state == "waiting"


def test_it_goes_to_the_first_connection_that_is_made_meanwhile(
    timed: Database, vault: Vault, site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staff() -> Connection:
        return Setup(timed, vault, Limits(60, 20), "anna").create(site.key, "sandbox", "", OPTIONS)

    def meanwhile(*given: Any) -> Any:
        seen = ways(*given)
        made.append(waits(pool, staff))
        return seen

    made: list[Future[Connection]] = []
    ways = outbox.arrivals._ways  # type: ignore[attr-defined]
    monkeypatch.setattr(outbox.arrivals, "_ways", meanwhile)  # type: ignore[attr-defined]
    event_id = send(timed, vault, site).event_id
    connection = made[0].result(10)
    assert delivery_of(timed, event_id).connection_id == connection.id


def withdrawn(database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, client_id="c", email="jane@example.com", consent=False)


@pytest.mark.parametrize(
    ("did", "does", "becomes"),
    [
        ({"kind": "call_click", "visitor_id": "v1"}, joined, ("waiting", None)),
        ({"email": "jane@example.com", "suspicion": "trap"}, released, ("waiting", None)),
        ({"email": "jane@example.com", "client_id": "c"}, withdrawn, ("held", "no_consent")),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_new_connection_gets_it_as_it_is_decided_meanwhile(
    timed: Database,
    vault: Vault,
    site: Site,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    did: dict[str, Any],
    does: Callable[[Database, Vault, Site], None],
    becomes: tuple[str, str | None],
    is_known: bool,
) -> None:
    def meanwhile(*given: Any) -> None:
        at_once.append(waits(pool, lambda: does(timed, vault, site)))
        insert(*given)

    at_once: list[Future[None]] = []
    if is_known:
        send(timed, vault, site, visitor_id="v2", email="jane@example.com")
    event_id = send(timed, vault, site, **did).event_id
    made = make_connection(timed, vault, site, unknown_callers="wait", takes_over=True)
    insert = takeover.insert_all
    monkeypatch.setattr(takeover, "insert_all", meanwhile)
    outbox.take_over(timed, made.id)
    at_once[0].result(10)
    row = delivery_of(timed, event_id)
    assert (row.state, row.code) == becomes
    with timed.read() as session:
        assert row.lead_id == session.get_one(Event, event_id).lead_id


def test_a_new_connection_gets_it_as_it_was_decided_just_before(
    timed: Database, vault: Vault, site: Site, pool: ThreadPoolExecutor
) -> None:
    """Whoever waits for a decision goes by what was decided."""
    event_id = send(timed, vault, site, email="jane@example.com", suspicion="trap").event_id
    made = make_connection(timed, vault, site, takes_over=True)
    with timed.write() as session:
        event = session.get_one(Event, event_id)
        lead = session.get_one(Lead, event.lead_id, with_for_update=True)
        session.refresh(event, with_for_update=True)
        outbox.release_hold(session, vault, event, lead, timed.now(session))
        session.flush()
        at_once = waits(pool, lambda: outbox.take_over(timed, made.id))
    assert at_once.result(10) == 1
    assert (delivery_of(timed, event_id).state, delivery_of(timed, event_id).code) == ("waiting", None)


@pytest.fixture
def named_at_once(
    timed: Database, vault: Vault, site: Site, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> Named:
    """Makes a connection of this name, and does the others while that is not committed."""

    def make(name: str, *others: Callable[[Setup], Connection]) -> tuple[Connection, list[Future[Connection]]]:
        def meanwhile(*given: Any) -> str:
            monkeypatch.undo()
            at_once.extend([waits(pool, partial(does, setup)) for does in others])
            return typed(*given)

        setup, typed = Setup(timed, vault, Limits(60, 20), "anna"), naming._as_typed
        at_once: list[Future[Connection]] = []
        monkeypatch.setattr(naming, "_as_typed", meanwhile)
        return setup.create(site.key, "sandbox", name, OPTIONS), at_once

    return make


def test_no_two_who_name_a_connection_at_once_give_the_same_name(
    site: Site, connection: Connection, named_at_once: Named
) -> None:
    def make(setup: Setup) -> Connection:
        return setup.create(site.key, "sandbox", "main CRM", OPTIONS)

    def rename(setup: Setup) -> Connection:
        return setup.replace(connection.id, OPTIONS, name="main CRM")

    first, others = named_at_once("Main CRM", make, rename)
    assert first.name == "Main CRM"
    for other in others:
        with pytest.raises(SetupError, match="Another connection is called “main CRM” already"):
            other.result(10)


def test_two_connections_without_a_name_that_are_made_at_once_are_called_otherwise(
    site: Site, connection: Connection, named_at_once: Named
) -> None:
    first, [second] = named_at_once("", lambda setup: setup.create(site.key, "sandbox", "", OPTIONS))
    names = [connection.name, first.name, second.result(10).name]
    assert names == ["Sandbox CRM", "Sandbox CRM of Sunrise", "Sandbox CRM of Sunrise (2)"]


def test_it_need_not_wait_for_a_lane_that_tells_how_the_connection_is(
    timed: Database, vault: Vault, site: Site, connection: Connection, pool: ThreadPoolExecutor
) -> None:
    lane = leased(timed, connection)
    with timed.write() as session:
        report(session, lane, Health("failing", 1, 0), timed.now(session))
        session.flush()
        assert pool.submit(send, timed, vault, site).result(5).reference


def test_a_connection_is_removed_while_its_lane_writes_down_and_claims(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(where: str) -> None:
        if where == "finish.written":
            at_once.append(waits(pool, lambda: setup.remove(connection.id)))

    at_once: list[Future[int]] = []
    setup = Setup(timed, vault, Limits(60, 20), "anna")
    first, second = (send(timed, vault, site, email=f"{name}@example.com") for name in ("jane", "tom"))
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 1, 60)
    monkeypatch.setattr(outcomes, "reach", meanwhile)
    fenced, more = outbox.finish_and_claim(timed, lane, [outcome(claimed[0], "refused", code="too_long")], None, 1, 60)
    assert (fenced, len(more), at_once[0].result(10)) == (0, 1, 2)
    assert delivery_of(timed, first.event_id).code == "removed"
    assert delivery_of(timed, second.event_id).code == "unknown_outcome"


def test_a_paused_connection_is_removed_while_its_lane_writes_down_how_it_is(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(*given: Any) -> None:
        at_once.append(waits(pool, lambda: setup.remove(connection.id)))
        report(*given)

    at_once: list[Future[int]] = []
    setup = Setup(timed, vault, Limits(60, 20), "anna")
    event_id = send(timed, vault, site).event_id
    lane = leased(timed, connection)
    claimed = outbox.claim(timed, lane, 1, 60)
    setup.pause(connection.id)
    monkeypatch.setattr(outcomes, "report", meanwhile)
    written = [outcome(claimed[0], "waiting", verdict="TryLater")]
    assert outbox.finish_and_claim(timed, lane, written, Health("failing", 1, 0), 1, 60) == (0, [])
    assert at_once[0].result(10) == 1
    assert delivery_of(timed, event_id).code == "removed"


def test_of_a_caller_who_becomes_known_while_a_lane_claims_only_one_is_claimed(
    timed: Database, vault: Vault, site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile() -> Any:
        send(timed, vault, site, visitor_id="v", email="jane@example.com")
        return details()

    details = lanes._details_of
    send(timed, vault, site, "call_click", visitor_id="v", tel="+12025550142")
    send(timed, vault, site, email="jane@example.com")
    lane = leased(timed, connection)
    monkeypatch.setattr(lanes, "_details_of", meanwhile)
    assert len(outbox.claim(timed, lane, 10, 60)) == 1


def test_somebody_says_it_is_right_while_a_look_finds_it_again(
    loop: Loop, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*given: Any) -> None:
        at_once.append(waits(pool, loop.settle))
        seen(*given)

    at_once: list[Future[None]] = []
    event_id = str(loop.send())
    loop.tick()
    kept = loop.crm.held.pop(event_id)
    loop.night()
    loop.crm.held[event_id] = kept
    seen = drift.seen
    monkeypatch.setattr(drift, "seen", meanwhile)
    loop.night()
    at_once[0].result(10)
    assert (loop.row().state, loop.open(), loop.drifts()[0].settled_by) == ("confirmed", [], None)


def test_of_two_admins_who_remove_each_other_one_stays(timed: Database, pool: ThreadPoolExecutor) -> None:
    def remove(name: str) -> None:
        with timed.write() as session:
            user = find_user(session, name)
            assert user is not None
            remove_user(session, user)

    with timed.write() as session:
        anna, _ = (add_user(session, name, "admin", timed.now(session))[0] for name in ("anna", "bert"))
    with timed.write() as session:
        remove_user(session, session.merge(anna))
        other = waits(pool, partial(remove, "bert"))
    with pytest.raises(StaffError, match="last admin"):
        other.result()


def test_of_two_websites_with_one_key_the_second_is_told(timed: Database, pool: ThreadPoolExecutor) -> None:
    """As by a double click on “Add”."""
    with timed.write() as session:
        details = {"name": "Markt", "region": "DE", "time_zone": "Europe/Berlin", "now": timed.now(session)}
        add_site(session, key="markt", **details)
        second = waits(pool, lambda: make_site(timed, "markt"))
    with pytest.raises(SiteError, match="already a site with the key markt"):
        second.result(10)


def test_of_two_who_save_a_website_at_once_each_wording_has_its_version(
    timed: Database, site: Site, pool: ThreadPoolExecutor
) -> None:
    def words(consent: str) -> None:
        with timed.write() as session:
            change_site(session, session.get_one(Site, site.id), {"consent": consent}, timed.now(session))

    with timed.write() as session:
        change_site(session, session.get_one(Site, site.id), {"consent": "One."}, timed.now(session))
        second = waits(pool, partial(words, "Two."))
    second.result(10)
    with timed.read() as session:
        now = session.get_one(Site, site.id)
        assert (now.consent_version, consent_text(session, now)) == ("3", "Two.")


def test_of_two_who_remove_a_website_at_once_the_second_is_told(timed: Database, pool: ThreadPoolExecutor) -> None:
    def remove() -> None:
        with timed.write() as session:
            remove_site(session, session.get_one(Site, gone.id))

    gone = make_site(timed, "gone")
    with timed.write() as session:
        remove_site(session, session.get_one(Site, gone.id))
        second = waits(pool, remove)
    with pytest.raises(SiteError, match="gone was removed already"):
        second.result(10)


def test_nobody_who_decides_about_a_lead_is_in_the_way_of_a_removal(
    timed: Database, vault: Vault, site: Site, connection: Connection, pool: ThreadPoolExecutor
) -> None:
    """Each waited for the other where something of the lead had been sent, and was to be sent again."""

    def remove() -> None:
        with timed.write() as session:
            row = session.get_one(Connection, connection.id, with_for_update=True)
            has_connection.set()
            has_lead.wait(5)
            time.sleep(0.3)  # until the other one waits for the connection
            outbox.remove(session, row, timed.now(session))

    def release() -> None:
        with timed.write() as session:
            event = session.get_one(Event, held)
            lead = session.get_one(Lead, event.lead_id, with_for_update=True)
            has_lead.set()
            has_connection.wait(5)
            outbox.release_hold(session, vault, event, lead, timed.now(session))

    has_connection, has_lead = threading.Event(), threading.Event()
    sent = send(timed, vault, site, email="jane@example.com").event_id
    delivered(timed, connection)
    held = send(timed, vault, site, email="jane@example.com", message="x", suspicion="trap").event_id
    with timed.write() as session:
        again = session.scalars(select(Delivery).where(Delivery.event_id == sent)).one()
        outbox.send_again(session, again, "anna", timed.now(session))
    for begun in [pool.submit(release), pool.submit(remove)]:
        begun.result(10)
    assert {delivery_of(timed, event_id).code for event_id in (sent, held)} == {"removed"}
    assert delivery_of(timed, sent).check_at is None


def test_what_begins_again_while_its_end_is_noted_is_a_new_alert(timed: Database, pool: ThreadPoolExecutor) -> None:
    def look(*found: Condition) -> None:
        with timed.write() as session:
            settle(session, found, ["worker"], timed.now(session))

    silent = Condition("worker", "worker", "The sync is not running.")
    look(silent)
    with timed.write() as session:
        [first] = open_alerts(session)
        tell(session, Pending([first], []), timed.now(session))
    look()
    with timed.write() as session:
        tell(session, Pending([], [first]), timed.now(session))
        again = waits(pool, lambda: look(silent))
    again.result(10)
    with timed.read() as session:
        [standing] = open_alerts(session)
    assert (standing.id != first.id, standing.told_at) == (True, None)
