"""Consent that is taken back by sending the form again: what is not in a CRM yet stays here until staff decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from integrations.core.base import Item, Result, Tier
from leads.store import outbox
from leads.store.consents import last_words, taken_back
from leads.store.models import Attempt, Connection, Delivery, Event, Lead, Resubmission, Site, new_id
from leads.store.outbox import Accepted, Claimed
from leads.store.outbox.takeover import send_elsewhere
from leads.store.session import Database
from leads.store.staff import record
from leads.store.vault import Vault
from tests.database.lanes import delivered, delivery_of, finished, leased
from tests.database.loop import Loop
from tests.factory import make_connection, send
from tests.fakes import FakeCrm

JANE = {"first_name": "Jane", "email": "jane@example.com"}


@pytest.fixture
def agreed(timed: Database, vault: Vault, connection: Connection, site: Site) -> Accepted:
    return send(timed, vault, site, client_id="one", **JANE)


@pytest.fixture
def in_hand(timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted) -> Claimed:
    """Being sent at the moment in which consent is taken back."""
    [claimed] = outbox.claim(timed, leased(timed, connection), 10, 60)
    take_back(timed, vault, site)
    return claimed


def take_back(database: Database, vault: Vault, site: Site) -> None:
    send(database, vault, site, client_id="one", consent=False, **JANE)


def standing(database: Database, event_id: UUID) -> tuple[str, str | None, bool]:
    row = delivery_of(database, event_id)
    return row.state, row.code, row.unknown


def cleared(database: Database, vault: Vault, accepted: Accepted) -> int:
    with database.write() as session:
        event = session.get_one(Event, accepted.event_id)
        return outbox.release_hold(session, vault, event, session.get_one(Lead, event.lead_id), database.now(session))


def test_what_waits_is_held_until_staff_clear_it(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted
) -> None:
    for _ in range(2):
        take_back(timed, vault, site)
    assert standing(timed, agreed.event_id) == ("held", "no_consent", False)
    assert delivered(timed, connection) == []
    assert cleared(timed, vault, agreed) == 1
    assert len(delivered(timed, connection)) == 1


@pytest.mark.parametrize("changed", [{"service": "implants"}, {"email": "Jane@Example.com"}])
def test_other_answers_with_consent_hold_nothing(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted, changed: dict[str, str]
) -> None:
    send(timed, vault, site, client_id="one", **JANE | changed)
    assert len(delivered(timed, connection)) == 1


@pytest.mark.parametrize("state", ["refused", "expired"])
def test_what_staff_would_send_again_is_held_too(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted, state: str
) -> None:
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), state, code="invalid", field="email")
    take_back(timed, vault, site)
    assert standing(timed, agreed.event_id) == ("held", "no_consent", False)


def test_a_connection_that_is_started_again_sends_it_not(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted
) -> None:
    with timed.write() as session:
        outbox.pause(session, session.get_one(Connection, connection.id), timed.now(session))
    take_back(timed, vault, site)
    with timed.write() as session:
        outbox.resume(session, session.get_one(Connection, connection.id), timed.now(session))
    assert delivered(timed, connection) == []


def test_what_had_arrived_stays_as_it_is(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted
) -> None:
    delivered(timed, connection)
    take_back(timed, vault, site)
    assert standing(timed, agreed.event_id) == ("sent", None, False)
    with timed.read() as session:
        assert session.get_one(Event, agreed.event_id).hold_code is None


@pytest.mark.parametrize("is_given_again", [False, True])
def test_what_the_crm_lost_is_not_sent_again_by_itself(loop: Loop, is_given_again: bool) -> None:
    loop.use(FakeCrm(settle=10))
    event_id = loop.send("Jane", client_id="one")
    loop.tick()
    loop.crm.held.clear()
    take_back(loop.database, loop.vault, loop.site)
    loop.clock.forward(seconds=1)
    if is_given_again:
        send(loop.database, loop.vault, loop.site, client_id="one", **JANE, service="another")
    loop.tick(seconds=10)
    assert len(loop.crm.written) == 1 + is_given_again
    if not is_given_again:
        row = loop.row(event_id)
        assert (row.state, row.code, row.unknown) == ("refused", "missing", True)
        assert "has taken consent back" in str(row.sentence)


OTHERWISE = JANE | {"service": "another"}


def said(loop: Loop, *words: str, seconds: float = 60) -> UUID:
    """A form with and without consent, one after the other: `yes`, `no`, `yes, otherwise`. Returns the event's id."""
    for word in words:
        loop.clock.forward(seconds=seconds)
        answers = OTHERWISE if word.endswith("otherwise") else JANE
        accepted = send(
            loop.database, loop.vault, loop.site, client_id="one", consent=word.startswith("yes"), **answers
        )
    return accepted.event_id


@pytest.mark.parametrize(
    ("words", "is_given"),
    [
        (("yes", "no", "yes"), True),
        (("yes", "no", "yes", "no"), False),
        (("yes", "no", "yes, otherwise", "no"), False),
        (("yes", "no", "yes, otherwise", "no", "yes, otherwise"), True),
        (("no", "yes", "no"), False),
    ],
)
def test_the_last_word_counts_however_often_it_was_said_before(
    loop: Loop, words: tuple[str, ...], is_given: bool
) -> None:
    event_id = said(loop, *words)
    with loop.database.read() as session:
        assert last_words(session, [event_id]) == {event_id: is_given}
        last = session.scalars(select(Resubmission).order_by(Resubmission.received_at.desc())).first()
    assert last is not None
    assert (last.received_at, last.seen_at, last.consent_given) == (loop.clock(), None, is_given)


def test_a_word_that_comes_again_is_to_be_seen_again(loop: Loop) -> None:
    event_id = said(loop, "yes", "no", "yes, otherwise")
    with loop.database.write() as session:
        session.execute(update(Resubmission).values(seen_at=loop.clock()))
    said(loop, "no")
    with loop.database.read() as session:
        [unseen] = session.scalars(select(Resubmission).where(Resubmission.seen_at.is_(None))).all()
        assert (unseen.event_id, unseen.consent_given) == (event_id, False)
        assert session.scalar(select(func.count()).select_from(Resubmission)) == 2


@pytest.mark.parametrize("words", [("yes", "no", "yes"), ("yes", "yes, otherwise", "no", "yes, otherwise")])
def test_what_the_network_repeats_overrules_no_later_word(loop: Loop, words: tuple[str, ...]) -> None:
    event_id = said(loop, *words, seconds=5)
    with loop.database.read() as session:
        assert last_words(session, [event_id]) == {event_id: False}


def test_a_no_is_never_taken_for_a_repetition(loop: Loop) -> None:
    event_id = said(loop, "yes", "no", "yes, otherwise", "no", seconds=1)
    with loop.database.read() as session:
        assert last_words(session, [event_id]) == {event_id: False}


def test_of_two_words_at_one_moment_the_no_counts(loop: Loop) -> None:
    event_id = said(loop, "yes", "no")
    said(loop, "yes, otherwise", "no", seconds=0)
    with loop.database.read() as session:
        assert last_words(session, [event_id]) == {event_id: False}


def test_what_staff_noted_later_is_the_last_word_until_the_visitor_says_otherwise(loop: Loop) -> None:
    event_id = said(loop, "yes", "no")
    loop.clock.forward(seconds=1)
    with loop.database.write() as session:
        record(session, "anna", "consent_given", loop.clock(), delivery_id=loop.row().id)
    with loop.database.read() as session:
        assert taken_back(session, [event_id]) == set()
    said(loop, "no")
    with loop.database.read() as session:
        assert taken_back(session, [event_id]) == {event_id}


def test_who_gave_consent_only_later_takes_it_back_with_the_first_form(loop: Loop) -> None:
    event_id = said(loop, "no", "yes")
    accepted = send(loop.database, loop.vault, loop.site, client_id="one", **JANE)
    assert cleared(loop.database, loop.vault, accepted) == 1
    said(loop, "no")
    assert standing(loop.database, event_id) == ("held", "no_consent", False)


def test_who_is_corrected_is_not_sent_with_what_they_do_not_want_any_more(loop: Loop) -> None:
    loop.use(FakeCrm(settle=10))
    event_id = loop.send("Jane", client_id="one")
    loop.tick()
    loop.crm.held.clear()
    loop.send("Jane", client_id="one", consent=False)
    loop.tick(seconds=10)
    with loop.database.write() as session:
        outbox.requeue_all_of(session, loop.row().lead_id, loop.connection_id, loop.clock())
    assert (loop.row(event_id).state, loop.row(event_id).code) == ("refused", "missing")


def test_what_may_have_arrived_stays_for_a_person(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted
) -> None:
    lane = leased(timed, connection)
    finished(timed, lane, outbox.claim(timed, lane, 10, 60), "refused", code="unknown_outcome", unknown=True)
    take_back(timed, vault, site)
    assert standing(timed, agreed.event_id) == ("refused", "unknown_outcome", True)


@pytest.mark.parametrize(
    ("state", "more", "becomes"),
    [
        ("sent", {}, ("sent", None, False)),
        ("waiting", {"code": "timeout", "unknown": True}, ("held", "no_consent", True)),
        ("waiting", {"code": "unavailable"}, ("held", "no_consent", False)),
        ("refused", {"code": "invalid"}, ("held", "no_consent", False)),
    ],
)
def test_what_was_in_hand_tells_what_became_of_it(
    timed: Database,
    connection: Connection,
    in_hand: Claimed,
    state: str,
    more: dict[str, Any],
    becomes: tuple[str, str | None, bool],
) -> None:
    event_id = in_hand.event.id
    assert standing(timed, event_id) == ("held", "no_consent", True), "its worker may die over it"
    assert finished(timed, lane_of(timed, connection), [in_hand], state, **more) == 0
    assert standing(timed, event_id) == becomes
    with timed.read() as session:
        assert session.scalars(select(Attempt.verdict)).all() == [state]
        assert session.scalars(select(Delivery.token)).all() == [None]


def test_what_was_in_hand_and_not_sent_is_given_back(timed: Database, in_hand: Claimed) -> None:
    outbox.give_back(timed, [in_hand])
    assert standing(timed, in_hand.event.id) == ("held", "no_consent", False)


def test_what_is_no_spam_still_needs_the_consent_that_was_taken_back(
    timed: Database, vault: Vault, connection: Connection, site: Site
) -> None:
    agreed = send(timed, vault, site, client_id="one", suspicion="trap", **JANE)
    take_back(timed, vault, site)
    assert cleared(timed, vault, agreed) == 0
    assert standing(timed, agreed.event_id) == ("held", "no_consent", False)
    assert cleared(timed, vault, agreed) == 1


def test_no_other_connection_gets_what_a_removed_one_left(
    timed: Database, vault: Vault, connection: Connection, site: Site, agreed: Accepted
) -> None:
    with timed.write() as session:
        outbox.remove(session, session.get_one(Connection, connection.id), timed.now(session))
    take_back(timed, vault, site)
    other = make_connection(timed, vault, site, name="Another")
    with timed.write() as session:
        row = session.scalars(select(Delivery)).one()
        send_elsewhere(session, row, session.get_one(Connection, other.id), timed.now(session), looks_first=True)
    assert delivered(timed, other) == []


def test_a_website_without_a_connection_remembers(timed: Database, vault: Vault, site: Site) -> None:
    agreed = send(timed, vault, site, client_id="one", **JANE)
    take_back(timed, vault, site)
    with timed.read() as session:
        assert session.get_one(Event, agreed.event_id).hold_code == "no_consent"


def lane_of(database: Database, connection: Connection) -> outbox.Lane:
    """The lane that holds this connection."""
    with database.read() as session:
        row = session.get_one(Connection, connection.id)
        return outbox.Lane(row.id, row.lease_worker or "", row.lease_token or new_id(), probing=False)


@pytest.mark.parametrize("tier", ["A", "B", "C"])
def test_what_staff_release_while_it_is_in_hand_is_written_once(loop: Loop, tier: Tier) -> None:
    def meanwhile(batch: Sequence[Item]) -> list[Result]:
        answers: list[Result] = [loop.crm.keep(item) for item in batch]
        take_back(loop.database, loop.vault, loop.site)
        with loop.database.write() as session:
            event = session.get_one(Event, agreed)
            lead = session.get_one(Lead, event.lead_id, with_for_update=True)
            outbox.release_hold(session, loop.vault, event, lead, loop.clock())
        return answers

    loop.use(FakeCrm(tier, settle=10.0 if tier == "B" else 0.0))
    agreed = send(loop.database, loop.vault, loop.site, client_id="one", **JANE).event_id
    loop.crm.answers = [meanwhile]
    loop.tick()
    loop.tick(seconds=1)
    loop.tick(minutes=1)
    assert len(loop.crm.written) == 1
    assert loop.row(agreed).state in ("sent", "confirmed")


def pushed(loop: Loop) -> dict[str, dict[str, str]]:
    """Event → what its CRM is told now of the person."""
    items: list[Item] = []

    def keep(batch: Sequence[Item]) -> list[Result]:
        items.extend(batch)
        return [loop.crm.keep(item) for item in batch]

    names = ("first_name", "last_name", "email", "phone")
    loop.set_connection(mapping=[{"to": name, "from": name, "write": "always"} for name in names])
    loop.crm.answers = [keep] * 5
    loop.tick(seconds=1)
    loop.crm.answers.clear()
    return {item.event_id: {**item.record, **item.activity} for item in items}


@pytest.mark.parametrize("first", ["form", "tap"])
def test_a_tap_does_not_tell_who_has_taken_consent_back(loop: Loop, first: str) -> None:
    def tap() -> Accepted:
        return send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")

    before = [tap()] if first == "tap" else []
    event_id = loop.send("Jane", client_id="one", visitor_id="v1", phone="+12125550142")
    take_back(loop.database, loop.vault, loop.site)
    taps = [*before, tap()]
    told = pushed(loop)
    assert set(told) == {str(one.event_id) for one in taps}
    for said_there in told.values():
        assert said_there["first_name"] == "Caller"
        assert not {"email", "phone"} & set(said_there)
        assert "Jane" not in str(said_there)
    with loop.database.write() as session:
        event = session.get_one(Event, event_id)
        lead = session.get_one(Lead, event.lead_id)
        assert outbox.release_hold(session, loop.vault, event, lead, loop.clock()) == 1
    last = tap().event_id
    told = pushed(loop)
    assert [told[str(one)]["email"] for one in (event_id, last)] == ["Jane@example.com"] * 2


@pytest.mark.parametrize("why", ["another form", "has arrived"])
def test_a_tap_goes_under_the_name_that_the_crm_may_have(loop: Loop, why: str) -> None:
    loop.send("Jane", client_id="one", visitor_id="v1")
    if why == "has arrived":
        loop.tick()
    else:
        loop.send("Jane")
    take_back(loop.database, loop.vault, loop.site)
    tap = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1").event_id
    assert pushed(loop)[str(tap)]["email"] == "Jane@example.com"


def test_a_no_is_the_last_word_also_where_the_clock_was_set_back(loop: Loop) -> None:
    event_id = said(loop, "yes", "no", "yes, otherwise")
    with loop.database.write() as session:
        record(session, "anna", "consent_given", loop.clock(), delivery_id=loop.row().id)
    said(loop, "no", seconds=-3600)
    with loop.database.read() as session:
        assert taken_back(session, [event_id]) == {event_id}


def test_that_consent_is_taken_back_is_to_be_seen_whatever_sent_it(loop: Loop) -> None:
    for consent in (True, False):
        send(loop.database, loop.vault, loop.site, client_id="one", consent=consent, unique=True, **JANE)
    with loop.database.read() as session:
        assert session.scalars(select(Resubmission.seen_at)).all() == [None]
