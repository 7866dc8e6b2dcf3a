"""Erasures outlive a restore: the list beside the database knows whoever was erased, and only those go again."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import delete, select, update

from leads.store import failpoint, outbox
from leads.store.erasure_list import ErasureList
from leads.store.failpoint import Failpoint
from leads.store.models import Delivery, Drift, Erasure, Event, Lead, RemoteRecord
from leads.store.people import person_of
from leads.store.queries.erasures import Back, back, never_known, unlisted
from leads.upkeep.erasures import Listing, complete, told_of
from tests.database.loop import Loop
from tests.factory import send

JANE = {"first_name": "Zyxwina", "last_name": "Quorbleton", "email": "zyx.quorb@example.com"}


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoint.arm("")


def _lead(loop: Loop, event_id: UUID) -> Lead:
    with loop.database.read() as session:
        return session.get_one(Lead, session.get_one(Event, event_id).lead_id)


def _erase(loop: Loop, event_id: UUID) -> None:
    assert outbox.erase(loop.database, loop.vault, loop.erasures, _lead(loop, event_id).id, "anna")


def _back(loop: Loop) -> Back:
    with loop.database.read() as session:
        return back(session, loop.erasures.read())


def _again(loop: Loop) -> list[str]:
    return [lead.code for lead, _ in _back(loop).again]


def _restore(loop: Loop, event_id: UUID) -> None:
    """As if a copy from before the erasure had been put back: the person is here, and nothing tells of the erasure."""
    lead = _lead(loop, event_id)
    with loop.database.write() as session:
        session.execute(delete(Erasure))
        sealed = loop.vault.seal(JANE, "lead", "person", lead.id)
        values = {"person_sealed": sealed, "known": True, "shareable": True, "erased_at": None, "erased_by": None}
        session.execute(update(Lead).where(Lead.id == lead.id).values(**values))
        for delivery in session.scalars(select(Delivery).where(Delivery.lead_id == lead.id)):
            delivery.state, delivery.sentence = "confirmed", None
            delivery.remote_id = f"r{delivery.event_id}"
            remote = {"remote_id": f"r{event_id}", "retire": False}
            session.add(RemoteRecord(lead_id=lead.id, connection_id=loop.connection_id, **remote))


def test_whoever_is_erased_stands_there_with_the_caller_they_were(loop: Loop) -> None:
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    caller = _lead(loop, click.event_id)
    jane = send(loop.database, loop.vault, loop.site, **JANE)
    send(loop.database, loop.vault, loop.site, visitor_id="v1", **JANE)
    lead = _lead(loop, jane.event_id)
    _erase(loop, jane.event_id)
    [entry] = loop.erasures.read().erased
    assert entry == (loop.clock(), lead.code, (lead.id, caller.id))
    assert "yx" not in loop.erasures.file.read_text()
    assert _back(loop) == ([], [], [])


def test_after_a_restore_they_are_erased_again_here_and_in_the_crm(loop: Loop) -> None:
    event_id = send(loop.database, loop.vault, loop.site, **JANE).event_id
    loop.tick()
    _erase(loop, event_id)
    loop.tick(seconds=1)
    assert loop.crm.erased == [f"r{event_id}"]
    loop.clock.forward(days=1)
    _restore(loop, event_id)
    [(lead, entry)] = _back(loop).again
    assert outbox.erase(loop.database, loop.vault, loop.erasures, lead.id, "command line", entry)
    loop.tick(seconds=1)
    assert loop.crm.erased == [f"r{event_id}"] * 2, "which is gone already, and that is well"
    assert person_of(loop.vault, _lead(loop, event_id)) == {}
    with loop.database.read() as session:
        assert session.scalars(select(Erasure.state)).all() == ["done"]
        assert session.scalars(select(Drift)).all() == []
    assert _again(loop) == []
    assert not outbox.erase(loop.database, loop.vault, loop.erasures, lead.id, "command line", entry)


def test_who_breaks_off_before_the_commit_erases_nobody_ever(loop: Loop) -> None:
    event_id = loop.send()
    failpoint.arm("forget.written:raise")
    with pytest.raises(Failpoint):
        _erase(loop, event_id)
    complete(loop.database, loop.erasures)
    code = _lead(loop, event_id).code
    found = _back(loop)
    assert ([lead.code for lead in found.unclear], found.again) == ([code], [])
    [told] = told_of(found, loop.erasures)
    assert code in told
    assert "nobody knows whether it was done" in told
    _erase(loop, event_id)
    assert _back(loop) == ([], [], [])


def test_who_breaks_off_after_the_commit_is_listed_as_soon_as_a_worker_looks(loop: Loop) -> None:
    event_id = loop.send()
    failpoint.arm("forget.committed:raise")
    with pytest.raises(Failpoint):
        _erase(loop, event_id)
    lead = _lead(loop, event_id)
    assert [entry.code for entry in loop.erasures.read().begun] == [lead.code], "were the database lost now"
    Listing(loop.database, loop.erasures).round()
    assert loop.erasures.read() == ([(lead.erased_at, lead.code, (lead.id,))], [])
    before = loop.erasures.file.read_bytes()
    Listing(loop.database, loop.erasures).round()
    assert loop.erasures.file.read_bytes() == before


def test_an_erasure_does_not_fail_where_the_list_cannot_be_written(loop: Loop) -> None:
    event_id = loop.send()
    loop.erasures.file.mkdir()
    done = outbox.erase(loop.database, loop.vault, loop.erasures, _lead(loop, event_id).id, "anna")
    assert done == (False,)
    loop.erasures.file.rmdir()
    with loop.database.read() as session:
        assert [entry.code for entry in unlisted(session, loop.erasures.read())] == [_lead(loop, event_id).code]
    complete(loop.database, loop.erasures)
    with loop.database.read() as session:
        assert unlisted(session, loop.erasures.read()) == []


def test_another_host_lists_them_too(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = ErasureList(tmp_path_factory.mktemp("elsewhere"))
    _erase(loop, loop.send())
    complete(loop.database, elsewhere)
    assert elsewhere.read().erased == loop.erasures.read().erased


def test_who_wrote_again_since_is_left_to_a_person(loop: Loop) -> None:
    event_id = send(loop.database, loop.vault, loop.site, client_id="c", **JANE).event_id
    _erase(loop, event_id)
    [entry] = loop.erasures.read().erased
    _restore(loop, event_id)
    assert _again(loop) == [entry.code]
    loop.clock.forward(minutes=1)
    with loop.database.write() as session:
        later = {"received_at": loop.clock()}
        session.execute(update(Event).values(**later))
    found = _back(loop)
    assert (found.again, [lead.code for lead in found.changed]) == ([], [entry.code])
    assert not outbox.erase(loop.database, loop.vault, loop.erasures, entry.leads[0], "command line", entry)
    assert _lead(loop, event_id).erased_at is None
    _erase(loop, event_id)
    assert _back(loop) == ([], [], []), "a person has looked"


def test_a_caller_who_turns_out_to_be_somebody_else_is_left_to_a_person(loop: Loop) -> None:
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    _erase(loop, click.event_id)
    [entry] = loop.erasures.read().erased
    joe = _lead(loop, loop.send("Joe"))
    with loop.database.write() as session:
        values = {"erased_at": None, "merged_into": joe.id}
        session.execute(update(Lead).where(Lead.id == entry.leads[0]).values(**values))
    found = _back(loop)
    assert (found.again, [lead.code for lead in found.changed]) == ([], [joe.code])
    assert not outbox.erase(loop.database, loop.vault, loop.erasures, entry.leads[0], "command line", entry)
    assert _lead(loop, click.event_id).erased_at is None


def test_a_caller_whom_the_copy_does_not_know_as_them_yet_goes_too(loop: Loop) -> None:
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    caller = _lead(loop, click.event_id)
    event_id = send(loop.database, loop.vault, loop.site, **JANE).event_id
    send(loop.database, loop.vault, loop.site, visitor_id="v1", **JANE)
    _erase(loop, event_id)
    with loop.database.write() as session:
        session.execute(update(Lead).where(Lead.id == caller.id).values(erased_at=None, merged_into=None))
    assert _again(loop) == [caller.code]


def test_who_is_in_no_database_is_named_and_is_nobody_to_erase(loop: Loop) -> None:
    _erase(loop, loop.send())
    with loop.database.write() as session:
        for model in (Delivery, Event, Erasure):
            session.execute(delete(model))
        session.execute(delete(Lead))
    assert _back(loop) == ([], [], [])
    with loop.database.read() as session:
        assert never_known(session, listed := loop.erasures.read()) == listed.erased
