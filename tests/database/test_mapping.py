"""What a mapping does to the CRM's records over time, and changing it under running traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import select

from integrations.core.base import Item, Pushed
from integrations.core.errors import TryLater
from leads.store.models import Action, Connection
from leads.store.queries.enquiries import latest_enquiries
from leads.sync.connect import Limits
from leads.sync.options import SetupError
from leads.sync.plan import Plan, load_plan, plan_of
from leads.sync.rehearsal import Line, differences, dry_run
from leads.sync.setup import Setup
from tests.database.loop import Loop
from tests.factory import make_site, send
from tests.fakes import FakeCrm

PHONE, OTHER = "+12015550141", "+12015550142"


class Records(FakeCrm):
    """Keeps one record for each person, which staff of the clinic may change, and tells what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, str]] = {}
        self.trouble: list[TryLater] = []
        self.asked = 0

    def keep(self, item: Item) -> Pushed:
        self.people[item.lead_id] = {**self.people.get(item.lead_id, {}), **item.record}
        super().keep(item)
        self.held[item.event_id] = replace(self.held[item.event_id], remote_id=item.lead_id)
        return Pushed(item.lead_id)

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        self.asked += 1
        if self.trouble:
            raise self.trouble.pop(0)
        return [self.people.get(item.lead_id) for item in items]


@pytest.fixture
def crm(loop: Loop) -> Records:
    crm = Records()
    loop.use(crm)
    return crm


def _write(loop: Loop, **how: str) -> None:
    """From now on the phone is written like this, besides the e-mail."""
    rules = [{"to": "mail", "from": "email"}, {"to": "tel", "from": "phone", **how}]
    loop.set_connection(mapping=rules)


def _record(crm: Records) -> dict[str, str]:
    [record] = crm.people.values()
    return record


@pytest.mark.parametrize(
    ("write", "kept"),
    [
        ("when_empty", {"tel": "by staff", "mail": "Jane@example.com"}),
        ("always", {"tel": PHONE, "mail": "Jane@example.com"}),
    ],
)
def test_what_staff_changed_stays_unless_the_mapping_says_always(
    loop: Loop, crm: Records, write: str, kept: dict[str, str]
) -> None:
    _write(loop, write=write)
    loop.send(phone=PHONE)
    loop.tick()
    assert _record(crm) == {"tel": PHONE, "mail": "Jane@example.com"}
    _record(crm)["tel"] = "by staff"
    loop.send(phone=PHONE)
    loop.tick(seconds=1)
    assert _record(crm) == kept
    assert len(crm.written) == 2


def test_what_staff_emptied_is_filled_again_and_what_is_off_is_never_written(loop: Loop, crm: Records) -> None:
    _write(loop)
    loop.send(phone=PHONE)
    loop.tick()
    _record(crm)["tel"] = ""
    loop.send()
    loop.tick(seconds=1)
    assert _record(crm)["tel"] == PHONE
    _record(crm)["tel"] = ""
    _write(loop, write="never")
    loop.send()
    loop.tick(seconds=1)
    assert _record(crm)["tel"] == ""


def test_what_we_wrote_for_want_of_better_gives_way(loop: Loop, crm: Records) -> None:
    """A caller's code, and what stands for a missing first name, until she tells her name; staff's words stay."""
    rules = [{"to": name, "from": name} for name in ("first_name", "last_name", "email")]
    loop.set_connection(mapping=[{**rules[0], "otherwise": "(unknown)"}, *rules[1:]])
    click = send(loop.database, loop.vault, loop.site, "call_click", visitor_id="v1")
    loop.tick()
    assert _record(crm) == {"first_name": "Caller", "last_name": click.reference}
    send(loop.database, loop.vault, loop.site, visitor_id="v1", last_name="Call", email="carla@example.com")
    loop.tick(seconds=1)
    assert _record(crm) == {"first_name": "(unknown)", "last_name": "Call", "email": "carla@example.com"}
    _record(crm)["last_name"] = "Call, called back"
    loop.send("Carla", visitor_id="v1")
    loop.tick(seconds=1)
    assert _record(crm) == {"first_name": "Carla", "last_name": "Call, called back", "email": "carla@example.com"}


def test_nothing_is_written_as_long_as_it_is_not_known_what_staff_changed(loop: Loop, crm: Records) -> None:
    loop.send(phone=PHONE)
    loop.tick()
    assert crm.asked == 0, "there was no record yet that staff could have changed"
    crm.people[next(iter(crm.people))]["phone"] = "by staff"
    second = loop.send(phone=PHONE)
    crm.trouble = [TryLater("unavailable", "The CRM is not working just now.")]
    loop.tick(seconds=1)
    assert (len(crm.written), loop.row(second).state) == (1, "waiting")
    loop.tick(seconds=10)
    assert len(crm.written) == 2
    assert _record(crm)["phone"] == "by staff"


def _setup(loop: Loop) -> Setup:
    return Setup(loop.database, loop.vault, Limits(60, 5), by="anna")


def _plan(loop: Loop) -> Plan:
    return plan_of(loop.connection())


def test_a_new_plan_is_used_and_written_down(loop: Loop, crm: Records) -> None:
    before = _plan(loop)
    plan = load_plan({"mapping": [{"to": "tel", "from": "phone"}], "share": ["service"]})
    loop.set_connection(state="failing", code="unknown_property", failures=3)
    _setup(loop).remap(loop.connection_id, plan, before.mark())
    assert _plan(loop) == plan
    loop.send(phone=PHONE, service="Implants")
    loop.tick()
    assert loop.connection().state == "working", "what was wrong may have been the mapping"
    assert _record(crm) == {"tel": PHONE}
    with loop.database.read() as session:
        action = session.scalars(select(Action)).one()
    assert (action.user_name, action.what, action.connection_id) == ("anna", "mapping_changed", loop.connection_id)
    note = loop.vault.open(action.note_sealed, "action", "note", action.id)
    assert "New: Phone → tel, only when empty." in note
    assert "Activities tell: Service asked for." in note


def test_two_who_change_it_at_once_are_told(loop: Loop) -> None:
    seen, setup = _plan(loop).mark(), _setup(loop)
    first = load_plan({"mapping": [{"to": "tel", "from": "phone"}], "share": []})
    setup.remap(loop.connection_id, first, seen)
    with pytest.raises(SetupError, match="Somebody else has changed this meanwhile"):
        setup.remap(loop.connection_id, load_plan({"mapping": [], "share": []}), seen)
    assert _plan(loop) == first


def test_a_paused_connection_stays_paused(loop: Loop) -> None:
    loop.set_connection(state="paused")
    _setup(loop).remap(loop.connection_id, load_plan({"mapping": [], "share": []}))
    assert loop.connection().state == "paused"


def test_a_new_field_is_no_drift_for_what_was_confirmed(loop: Loop, crm: Records) -> None:
    loop.send(phone=PHONE)
    loop.tick()
    loop.tick(seconds=10)
    assert loop.row().state == "confirmed"
    _write(loop, write="always")
    for _ in range(3):
        loop.night()
    assert (loop.row().state, loop.drifts(), len(crm.written)) == ("confirmed", [], 1)


def _compare(loop: Loop, after: dict[str, object], *, reveal: bool = False) -> list[list[Line]]:
    with loop.database.read() as session:
        stored = latest_enquiries(session, loop.site.id)
    found = differences(loop.vault, _plan(loop), load_plan(after), stored, reveal=reveal)
    return [one.lines for one in found]


def test_what_would_differ_is_told_field_by_field_and_masked(loop: Loop) -> None:
    loop.set_connection(mapping=[{"to": "tel", "from": "phone"}, {"to": "mail", "from": "email"}], share=[])
    send(loop.database, loop.vault, loop.site, "call_click", tel="+12015550100")
    loop.clock.forward(seconds=1)
    loop.send(phone=PHONE, message="My tooth", service="Implants")
    rules = [
        {"to": "tel", "from": "phone", "write": "always"},
        {"to": "mail", "from": "email"},
        {"to": "kind", "from": "service", "values": {"Implants": "IMP"}},
        {"to": "source", "value": "web"},
        {"to": "place", "from": "site"},
        {"to": "age", "from": "preferred_time", "otherwise": "not said"},
    ]
    after = {"mapping": rules, "share": ["message"]}
    known, caller = _compare(loop, after)
    assert known == [
        Line("tel", "‹Phone›, only when empty", "‹Phone›, always"),
        Line("kind", "nothing", "‹Service asked for, in their words›, only when empty"),
        Line("source", "nothing", "web, only when empty"),
        Line("place", "nothing", "Sunrise, only when empty"),
        Line("age", "nothing", "not said, only when empty"),
        Line("Activity: Message", "nothing", "‹Message›"),
    ]
    assert [line.field for line in caller] == ["source", "place", "age"]
    revealed, _ = _compare(loop, after, reveal=True)
    assert Line("tel", f"{PHONE}, only when empty", f"{PHONE}, always") in revealed
    assert Line("kind", "nothing", "IMP, only when empty") in revealed
    assert Line("Activity: Message", "nothing", "My tooth") in revealed


def test_a_change_that_a_mask_would_hide_is_still_told(loop: Loop) -> None:
    rule = {"to": "kind", "from": "service"}
    loop.set_connection(mapping=[rule], share=[])
    loop.send(service="Implants")
    [[line]] = _compare(loop, {"mapping": [{**rule, "values": {"Implants": "IMP"}}], "share": []})
    assert line.field == "kind"
    assert _compare(loop, {"mapping": [{**rule, "values": {"Crowns": "CRO"}}], "share": []}) == [[]]


def test_only_the_latest_enquiry_of_real_people_of_this_site_is_compared(loop: Loop) -> None:
    for number in range(7):
        loop.send(f"Jane{number}")
        loop.clock.forward(seconds=1)
    last = loop.send("Jane6", service="Implants")
    send(loop.database, loop.vault, make_site(loop.database, "other"), email="else@example.com")
    with loop.database.read() as session:
        found = latest_enquiries(session, loop.site.id)
    assert len(found) == 5
    assert found[0].event.id == last


def test_a_dry_run_draws_the_requests_as_for_a_new_person_and_calls_nobody(loop: Loop, crm: Records) -> None:
    _write(loop)
    loop.send(phone=PHONE)
    loop.tick()
    with loop.database.read() as session:
        [stored] = latest_enquiries(session, loop.site.id)
    asked, written = crm.asked, list(crm.written)
    [draft] = dry_run(loop.vault, _plan(loop), crm, stored)
    assert draft.body == {"mail": "‹E-mail›", "tel": "‹Phone›"}
    [draft] = dry_run(loop.vault, _plan(loop), crm, stored, reveal=True)
    assert draft.body == {"mail": "Jane@example.com", "tel": PHONE}
    assert (crm.asked, crm.written) == (asked, written)


def test_a_connector_that_takes_a_phone_number_apart_gives_nothing_away(loop: Loop) -> None:
    class Apart(FakeCrm):
        def draft(self, item: Item) -> list:  # type: ignore[type-arg]
            [draft] = super().draft(item)
            number = {"code": int(item.record["phone"][:2]), "rest": item.record["phone"][2:]}
            return [
                replace(draft, url=f"{draft.url}?phone={item.record['phone']}", body={"phones": [number], "own": True})
            ]

    loop.send(phone=PHONE)
    with loop.database.read() as session:
        [stored] = latest_enquiries(session, loop.site.id)
    [draft] = dry_run(loop.vault, _plan(loop), Apart(), stored)
    assert draft.body == {"phones": [{"code": "‹hidden›", "rest": "‹hidden›"}], "own": True}
    assert draft.url == "https://crm.example/‹hidden›"


def test_a_caller_who_is_not_known_stays_one_in_a_dry_run(loop: Loop, crm: Records) -> None:
    sent = send(loop.database, loop.vault, loop.site, "call_click", tel="+12015550100")
    with loop.database.read() as session:
        [stored] = latest_enquiries(session, loop.site.id)
        connection = session.get_one(Connection, loop.connection_id)
    [draft] = dry_run(loop.vault, plan_of(connection), crm, stored, reveal=True)
    assert draft.body == {"first_name": "Caller", "last_name": sent.reference, "reference": sent.reference}
