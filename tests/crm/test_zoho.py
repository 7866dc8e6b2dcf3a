"""Zoho CRM against a pretend one that keeps unique fields, refuses duplicates and lets tokens run out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from integrations._zoho import key_query
from integrations.core.base import Allowance, Pushed, Seen
from integrations.core.errors import Misconfigured, Refused, Unknown
from integrations.core.http import Answer
from integrations.core.oauth import authorization_url
from integrations.zoho import Zoho
from leads.sync import calls
from tests.crm.loop import DEADLINE, LATE, connected, deliver, enquiry
from tests.pretend.server import Reply, Request
from tests.pretend.zoho import KEY, PretendZoho, _error


@pytest.fixture
def crm() -> PretendZoho:
    return PretendZoho(late=LATE)


@pytest.fixture
def zoho(crm: PretendZoho) -> Iterator[Zoho]:
    with connected(crm) as connector:
        assert isinstance(connector, Zoho)
        yield connector


def test_all_is_there_once_whatever_goes_wrong_on_the_way(crm: PretendZoho) -> None:
    with connected(crm, deadline=DEADLINE) as zoho:
        items = [enquiry(zoho, number, number % 50) for number in range(75)]
        crm.faults_rate = 0.2
        homes = deliver(zoho, items)
    assert len(crm.people()) == 50
    assert {person.lead_id: person.remote_id for person in crm.people()} == homes
    assert sorted(event for person in crm.people() for event in person.events) == sorted(one.event_id for one in items)
    assert {status for _, _, status in crm.calls} > {0, 401, 429}, "nothing went wrong"


def test_what_staff_changed_stays(crm: PretendZoho, zoho: Zoho) -> None:
    homes = deliver(zoho, [enquiry(zoho, 1, 1)])
    (home,) = homes.values()
    crm.leads[home] |= {"First_Name": "Annabelle-Marie", "Phone": None}
    again = replace(enquiry(zoho, 2, 1), remote_id=home)
    assert isinstance(calls.push(zoho, [again], ())[0], Pushed)
    assert crm.leads[home]["First_Name"] == "Annabelle-Marie"
    assert crm.leads[home]["Phone"] == "+12015550001"
    assert len(crm.people()[0].events) == 2


@pytest.mark.parametrize("theirs", ["Person1@Clinic.example", "person1@clinic.example"])
@pytest.mark.parametrize("unique", [(), ("Email",)])
def test_a_lead_of_the_clinic_is_adopted(theirs: str, unique: tuple[str, ...]) -> None:
    crm = PretendZoho(unique=unique)
    crm.leads["77"] = {"id": "77", "Last_Name": "Miller", "Email": theirs}
    with connected(crm) as zoho:
        assert deliver(zoho, [enquiry(zoho, 1, 1)]).popitem()[1] == "77"
    assert crm.leads["77"]["Last_Name"] == "Miller"
    assert crm.leads["77"]["First_Name"] == "First1"
    assert crm.leads["77"][KEY] == enquiry(zoho, 1, 1).lead_id


@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a batch"])
def test_a_lead_that_our_user_may_not_edit_stops_nobody_else(
    crm: PretendZoho, zoho: Zoho, whose: str, alone: bool
) -> None:
    if whose == "ours":
        deliver(zoho, [enquiry(zoho, 1, 1, phone="")])
    else:
        crm.leads["77"] = {"id": "77", "Last_Name": "Miller", "Email": "person1@clinic.example"}
    (home,) = crm.leads
    crm.leads["88"] = {"id": "88", "Last_Name": "Smith", "Email": "person2@clinic.example"}
    denied = {"code": "NO_PERMISSION", "details": {}, "message": "permission denied", "status": "error"}
    update, route = crm._update, crm._route
    crm._update = lambda row: denied if row["id"] == home else update(row)  # type: ignore[method-assign]
    if alone:  # it may be said without a row
        crm._route = lambda asked: Reply(403, denied) if asked.method == "PUT" else route(asked)  # type: ignore[method-assign]
    for known in (None, home):
        batch = [replace(enquiry(zoho, 2, 1), remote_id=known), *([] if alone else [enquiry(zoho, 3, 2)])]
        (result, *others) = calls.push(zoho, batch, ())
        assert isinstance(result, Refused if whose == "ours" else Pushed), result
        assert all(isinstance(one, Pushed) for one in others)
    assert len(crm._on(home)) == 1


def test_a_note_that_was_written_before_zoho_failed_is_not_written_again(crm: PretendZoho, zoho: Zoho) -> None:
    """Its list of notes shows a new one only after a while."""
    route = crm._route

    def fails(request: Request) -> Reply:
        reply = route(request)
        if not request.path.endswith("/Notes"):
            return reply
        return Reply(500, _error("INTERNAL_ERROR")) if request.method == "POST" else Reply(204)

    crm._route = fails  # type: ignore[method-assign]
    (result,) = calls.push(zoho, [enquiry(zoho, 1, 1)], ())
    assert isinstance(result, Unknown), "so it is looked for once Zoho shows it"
    crm._route = route  # type: ignore[method-assign]
    assert isinstance(calls.push(zoho, [enquiry(zoho, 1, 1)], {enquiry(zoho, 1, 1).event_id})[0], Pushed)
    assert len(crm.notes) == 1


def test_a_right_that_is_missing_is_told_of_each(crm: PretendZoho, zoho: Zoho) -> None:
    denied = {"code": "NO_PERMISSION", "details": {}, "message": "permission denied", "status": "error"}
    crm._insert = lambda _: denied  # type: ignore[method-assign]
    results = calls.push(zoho, [enquiry(zoho, 1, 1), enquiry(zoho, 2, 2)], ())
    assert [type(one) for one in results] == [Misconfigured, Misconfigured]


def test_two_who_share_a_unique_number_get_one_lead_and_keep_its_first_owner() -> None:
    crm = PretendZoho(unique=("Phone",))
    crm.leads["77"] = {"id": "77", "Last_Name": "Miller", "Phone": "+12015559999"}
    with connected(crm) as zoho:
        items = [enquiry(zoho, number, number, phone="+12015559999") for number in (1, 2)]
        assert set(deliver(zoho, items).values()) == {"77"}
    assert crm.leads["77"][KEY] == items[0].lead_id
    assert len(crm.people()[0].events) == 2


@pytest.mark.parametrize("unique", [("Email",), ("Email", "Phone")])
def test_what_another_lead_has_stands_in_the_note_and_all_else_is_written(unique: tuple[str, ...]) -> None:
    """A tap on “Call us” made a lead, then the form of somebody whom Zoho knows came from the same browser."""
    crm = PretendZoho(unique=unique)
    crm.leads["77"] = {"id": "77", "Last_Name": "Miller", "Email": "person1@clinic.example", "Phone": "+12015550001"}
    theirs = dict(crm.leads["77"])
    with connected(crm) as zoho:
        call = enquiry(zoho, 1, 1, email="", phone="", first_name="Caller", last_name="K7Q-2MX")
        (home,) = deliver(zoho, [call]).values()
        form = replace(enquiry(zoho, 2, 1), remote_id=home, stopgaps=lambda: {"First_Name": {"Caller"}})
        (result,) = calls.push(zoho, [form], ())
        assert isinstance(result, Pushed)
        assert result.remote_id == home
        assert zoho.find([form])[0] is not None
    assert crm.leads["77"] == theirs
    assert (crm.leads[home]["First_Name"], crm.leads[home].get("Email")) == ("First1", None)
    told = [note["Note_Content"] for note in crm.notes.values() if "already" in note["Note_Content"]]
    assert [text.count("(another record has this already)") for text in told] == [len(unique)]
    assert "Email: person1@clinic.example (another" in told[0]


def test_a_duplicate_whose_record_is_not_named_needs_a_person(crm: PretendZoho, zoho: Zoho) -> None:
    crm.leads["77"] = {"id": "77", "Last_Name": "Miller", "Email": "o'brien@clinic.example"}
    owner = {"id": "88", "module": {"api_name": "Contacts"}}
    error = {"code": "DUPLICATE_DATA", "status": "error", "details": {"api_name": "Email", "duplicate_record": owner}}
    crm._insert = lambda _: error  # type: ignore[method-assign]  # a contact, which Zoho can be told to mind as well
    (result,) = calls.push(zoho, [enquiry(zoho, 1, 1)], ())
    assert isinstance(result, Refused)
    assert result.field == "email"


def test_an_address_with_a_quote_breaks_no_query(crm: PretendZoho, zoho: Zoho) -> None:
    odd = enquiry(zoho, 1, 1, email="x') or (Last_Name in ('Last2").in_full()
    query = key_query([odd, enquiry(zoho, 2, 2).in_full()], ["id"])
    assert "Last_Name" not in query
    assert "person2@clinic.example" in query
    assert isinstance(calls.push(zoho, [odd], ())[0], Pushed)


def test_without_our_field_nothing_is_written() -> None:
    crm = PretendZoho(key=False)
    with connected(crm) as zoho:
        (result,) = calls.push(zoho, [enquiry(zoho, 1, 1)], ())
        assert isinstance(result, Misconfigured)
        assert "Frontdesk_Lead_ID" in result.sentence
        assert crm.leads == {}
        assert [finding.ok for finding in zoho.check()] == [False]
        assert [finding.ok for finding in [*zoho.prepare(), *zoho.check()]] == [True, True]
        deliver(zoho, [enquiry(zoho, 1, 1)])
    assert len(crm.leads) == 1


def test_find_sees_what_is_there_and_erase_takes_it_away(crm: PretendZoho, zoho: Zoho) -> None:
    ann, bob = enquiry(zoho, 1, 1), enquiry(zoho, 2, 2)
    homes = deliver(zoho, [ann, bob])
    held = replace(ann, remote_id=homes[ann.lead_id])
    seen = zoho.find([held.in_full(), bob.in_full(), enquiry(zoho, 3, 1).in_full(), enquiry(zoho, 4, 4).in_full()])
    assert [isinstance(one, Seen) for one in seen] == [True, True, False, False]
    assert seen[0] is not None
    assert seen[0].record == ann.fill
    zoho.erase([homes[ann.lead_id], "404"])
    assert [person.lead_id for person in crm.people()] == [bob.lead_id]
    assert len(crm.notes) == 1


def test_a_lead_that_was_deleted_is_made_anew(crm: PretendZoho, zoho: Zoho) -> None:
    (home,) = deliver(zoho, [enquiry(zoho, 1, 1)]).values()
    del crm.leads[home]
    (result,) = calls.push(zoho, [replace(enquiry(zoho, 2, 1), remote_id=home)], ())
    assert isinstance(result, Pushed)
    assert result.remote_id != home
    assert crm.leads[result.remote_id]["Email"] == "person1@clinic.example"


@pytest.mark.parametrize(("centre", "host"), [("eu", "zoho.eu"), ("ca", "zohocloud.ca"), ("com.au", "zoho.com.au")])
def test_the_sign_in_is_at_the_data_centre(centre: str, host: str) -> None:
    settings = Zoho.options().load({"client_id": "1000.X", "client_secret": "s", "data_centre": centre})
    oauth = Zoho.oauth(settings)
    url = authorization_url(oauth, settings, "https://desk.example/callback", "state", "v" * 43)
    assert url.startswith(f"https://accounts.{host}/oauth/v2/auth?")
    assert "access_type=offline" in url
    assert "prompt=consent" in url
    assert "ZohoCRM.modules.leads.ALL%2CZohoCRM.modules.notes.ALL" in url
    assert oauth.token_url == f"https://accounts.{host}/oauth/v2/token"


def test_credits_are_told_once_half_of_them_are_used() -> None:
    assert Zoho.allowance(Answer(200, {}, b"")) is None
    assert Zoho.allowance(Answer(200, {"X-API-CREDITS-REMAINING": "1200"}, b"")) == Allowance(left_today=1200)


@pytest.mark.parametrize("changed", ["nothing", "the phone"])
@pytest.mark.parametrize("shows", [False, True], ids=["hidden", "shown"])
@pytest.mark.parametrize("known", [False, True], ids=["by our number", "by its id"])
def test_who_became_a_contact_gets_the_enquiry_there(
    crm: PretendZoho, zoho: Zoho, shows: bool, known: bool, changed: str
) -> None:
    crm.shows = shows
    first = enquiry(zoho, 1, 1, phone="")
    (lead,) = deliver(zoho, [first]).values()
    contact = crm.convert(lead)
    again = enquiry(zoho, 2, 1, **({"phone": ""} if changed == "nothing" else {}))
    (result,) = calls.push(zoho, [replace(again, remote_id=lead if known else None)], ())
    assert isinstance(result, Pushed)
    assert result.remote_id == f"Contacts/{contact}"
    assert result.url is not None
    assert result.url.endswith(f"?module=Contacts&id={contact}")
    third = replace(enquiry(zoho, 3, 1), remote_id=result.remote_id)
    assert calls.push(zoho, [third, enquiry(zoho, 4, 2)], ())[0] == result
    told = [re.findall("event ([0-9a-f-]{36})", note["Note_Content"])[0] for note in crm._on(contact)]
    assert told == [first.event_id, again.event_id, third.event_id]
    assert len(crm.leads) == 2, "the other person's beside it"
    assert zoho.current([third]) == [None], "a contact is never written to"
    seen = zoho.find([replace(first, remote_id=lead).in_full(), third.in_full()])
    assert [one and (one.remote_id, one.record) for one in seen] == [(result.remote_id, None)] * 2
    zoho.erase([result.remote_id])
    assert (crm.contacts, len(crm.notes)) == ({}, 1)


def test_a_sign_in_that_does_not_give_contacts_leaves_the_enquiry_to_a_person(crm: PretendZoho, zoho: Zoho) -> None:
    (lead,) = deliver(zoho, [enquiry(zoho, 1, 1)]).values()
    crm.convert(lead)
    route = crm._route

    def without_contacts(request: Request) -> Reply:
        refused = Reply(401, {"code": "OAUTH_SCOPE_MISMATCH", "details": {}, "message": "", "status": "error"})
        return refused if "/Contacts" in request.path else route(request)

    crm._route = without_contacts  # type: ignore[method-assign]
    (result,) = calls.push(zoho, [replace(enquiry(zoho, 2, 1), remote_id=lead)], ())
    assert isinstance(result, Refused)
    assert "Sign in again" in result.sentence
    assert zoho.find([replace(enquiry(zoho, 1, 1), remote_id=lead)]) == [None]
    assert isinstance(calls.push(zoho, [enquiry(zoho, 3, 3)], ())[0], Pushed), "nobody else waits"
    assert list(crm.tokens) == ["first-access"], "the next would lack it too, and there are ten in ten minutes"
