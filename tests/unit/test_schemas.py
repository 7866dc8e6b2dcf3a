"""What a valid consultation request and a valid call click are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import ValidationError

from leads.fields import MOST_CHOICES, address, e164
from leads.intake.schemas import CallClickSchema, ConsultationSchema

LEAST = {"site": "demo", "id": "1", "email": "jane@example.com"}


def loaded(region: str = "US", **answers: Any) -> dict[str, Any]:
    data: dict[str, Any] = ConsultationSchema(region).load(LEAST | answers)
    return data


def mistakes(**answers: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        loaded(**answers)
    return caught.value.messages_dict


@pytest.mark.parametrize(
    ("typed", "region", "number"),
    [
        ("(201) 555-0123", "US", "+12015550123"),
        ("201.555.0123", "US", "+12015550123"),
        ("+49 30 123456", "US", "+4930123456"),
        ("030 123456", "DE", "+4930123456"),
        ("0049 30 123456", "DE", "+4930123456"),
        ("020 7946 0018", "GB", "+442079460018"),
        ("12015550123", "US", "+12015550123"),
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("201 555 0123 ext. 5", "US", "+12015550123"),
        ("call me 415 555 2671 pls", "US", "+14155552671"),
        ("201 555 0123 after five", "US", "+12015550123"),
        ("089 321688 ab 17 Uhr", "DE", "+4989321688"),
        ("0176 1234567 Oma", "DE", "+491761234567"),
        ("089/321688 privat", "DE", "+4989321688"),
        ("089 32 16 88 mobil", "DE", "+4989321688"),
        ("Tel. 089 321688", "DE", "+4989321688"),
        ("089 321688 (WhatsApp)", "DE", "+4989321688"),
        ("089 321688 Durchwahl 12", "DE", "+4989321688"),
        ("+49 (0)89 321688", "DE", "+4989321688"),
        ("089 321688 / 0176 1234567", "DE", "+4989321688"),
        ("٢٠١٥٥٥٠١٢٣", "US", "+12015550123"),
    ],
)
def test_phones_are_read_as_of_the_sites_region(typed: str, region: str, number: str) -> None:
    assert e164(typed, region) == number


@pytest.mark.parametrize(
    "typed", ["555-2671", "555-2671 (US)", "ask at the desk", "12", "+1", "0" * 60, "+999 123 4567"]
)
def test_what_nobody_could_call_is_no_phone(typed: str) -> None:
    with pytest.raises(ValueError, match="no phone number"):
        e164(typed, "US")


@pytest.mark.parametrize("typed", ["089 7777abc", "0800 REIFEN1", "Oma", "ab 17 Uhr"])
def test_letters_are_digits_only_where_people_give_numbers_so(typed: str) -> None:
    with pytest.raises(ValueError, match="no phone number"):
        e164(typed, "DE")


def test_the_phone_is_kept_as_typed_beside_the_number() -> None:
    data = loaded(phone=" (201) 555-0123 x5 ")
    assert (data["phone"], data["phone_typed"]) == ("+12015550123", "(201) 555-0123 x5")
    assert "extra" not in data


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (["Botox", "Filler"], "Botox, Filler"),
        ([" Botox ", ""], "Botox"),
        ([], ""),
        (["x"] * MOST_CHOICES, ", ".join("x" * MOST_CHOICES)),
    ],
)
def test_several_choices_are_one_text(sent: list[str], kept: str) -> None:
    assert loaded(service=sent)["service"] == kept
    assert "extra" not in loaded(service=sent)


@pytest.mark.parametrize("sent", [["x"] * (MOST_CHOICES + 1), ["x" * 199, "y"], ["x", 1], [["x"]], [{"a": 1}], True])
def test_what_is_no_short_list_of_texts_is_told(sent: Any) -> None:
    assert list(mistakes(service=sent)) == ["service"]


def test_a_phone_in_a_list_is_one_that_was_typed() -> None:
    data = loaded(phone=["(201) 555-0123"])
    assert (data["phone"], data["phone_typed"]) == ("+12015550123", "(201) 555-0123")
    assert list(mistakes(email=[], phone=[])) == ["email"]


def test_a_phone_may_come_as_a_number() -> None:
    assert loaded(phone=12015550123)["phone"] == "+12015550123"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (" jane@example.com ", "jane@example.com"),
        ("Jane@EXAMPLE.com", "Jane@example.com"),
        ("jane+clinic@site.test", "jane+clinic@site.test"),
        ("jörg@müller.example", "jörg@müller.example"),
    ],
)
def test_an_email_is_tidied(typed: str, kept: str) -> None:
    assert loaded(email=typed)["email"] == kept


@pytest.mark.parametrize(
    "typed", ["jane", "jane@", "@example.com", "jane@@example.com", "a b@example.com", "jane@x..y"]
)
def test_what_is_no_email_is_told(typed: str) -> None:
    assert list(mistakes(email=typed)) == ["email"]


def test_an_email_or_a_phone_is_needed() -> None:
    assert list(mistakes(email="")) == ["email"]
    assert list(mistakes(email="  ", phone="")) == ["email"]
    assert loaded(email=None, phone="201 555 0123")["phone"] == "+12015550123"


def test_all_mistakes_are_told_at_once() -> None:
    assert set(mistakes(email="jane", phone="12")) == {"email", "phone"}
    assert set(mistakes(first_name="x" * 101, message={"a": 1}, consent="perhaps", id="")) == {
        "first_name",
        "message",
        "consent",
        "id",
    }
    assert set(mistakes(email="jane", phone="12", id="", consent="perhaps")) == {"email", "phone", "id", "consent"}
    assert set(mistakes(email="", id="")) == {"email", "id"}


@pytest.mark.parametrize("wrong", ["jane", "x" * 255, ["jane"], [7], False])
def test_a_wrong_address_is_told_once_and_not_as_missing(wrong: Any) -> None:
    assert [len(sentences) for sentences in mistakes(email=wrong).values()] == [1]


@pytest.mark.parametrize("given", [True, False])
def test_consent_is_what_was_ticked_in_each_way_that_is_described(given: bool) -> None:
    ways = (True, 1, "yes", "on", "true", "1") if given else (False, 0, "no", "off", "false", "0")
    assert [loaded(consent=way)["consent"] for way in ways] == [given] * 6
    told = ConsultationSchema().fields["consent"].metadata["description"]
    assert all(way in told for way in ways if isinstance(way, str))


@pytest.mark.parametrize("unclear", ["perhaps", "ja", " yes", 2, ["yes"], [True], {"yes": True}])
def test_what_is_no_clear_word_is_no_consent(unclear: Any) -> None:
    assert list(mistakes(consent=unclear)) == ["consent"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_word_there_is_no_consent(nothing: Any) -> None:
    assert loaded()["consent"] is False
    assert loaded(consent=nothing)["consent"] is False


def test_a_page_is_kept_without_what_follows_its_path() -> None:
    assert loaded(page="https://clinic.example/implants?name=Jane#x")["page"] == "https://clinic.example/implants"
    assert len(loaded(page="https://clinic.example/" + "x" * 5000)["page"]) == 2000


def test_only_listed_attribution_is_kept_and_without_queries() -> None:
    given = {
        "utm_source": "google",
        "utm_medium": None,
        "landing": "https://clinic.example/?email=jane@example.com",
        "referrer": "https://search.example/?q=illness",
        "gender": "f",
    }
    assert loaded(attribution=given)["attribution"] == {
        "utm_source": "google",
        "landing": "https://clinic.example/",
        "referrer": "https://search.example/",
    }


def test_where_a_visitor_came_from_may_stand_flat_among_the_fields() -> None:
    data = loaded(
        utm_source="x" * 300,
        landing="https://clinic.example/start?email=jane@example.com",
        utm_medium="",
        gender="f",
        attribution={"utm_source": "google"},
    )
    assert data["attribution"] == {"utm_source": "google", "landing": "https://clinic.example/start"}
    assert data["extra"] == {"gender": "f"}
    assert loaded(utm_source="x" * 300)["attribution"] == {"utm_source": "x" * 200}
    assert "extra" not in loaded(utm_source="x")


def test_the_first_touch_may_stand_beside_the_last() -> None:
    data = loaded(
        utm_source="news", first_utm_source="google", first_landing="https://clinic.example/?a=b", first_gclid="x"
    )
    first = {"first_utm_source": "google", "first_landing": "https://clinic.example/"}
    assert data["attribution"] == {"utm_source": "news", **first}
    assert data["extra"] == {"first_gclid": "x"}


def test_click_ids_are_kept_of_nobody() -> None:
    data = loaded(
        gclid="Zz9",
        li_fat_id="Zz9",
        page="https://clinic.example/?fbclid=Zz9",
        came_to="https://clinic.example/?a=1&msclkid=Zz9",
        first={"gclid": "Zz9", "links": ["https://a.test/?fbclid=Zz9"]},
        message="see https://a.test/?gclid=mine",
    )
    assert "Zz9" not in str(data)
    assert data["extra"] == {"came_to": "https://clinic.example/?a=1", "first": '{"links": ["https://a.test/"]}'}
    assert data["message"] == "see https://a.test/?gclid=mine", "a visitor's own words stay as they are"


def test_what_has_no_field_of_its_own_is_kept_as_extra() -> None:
    extra = loaded(budget="small", teeth=[11, 12], suspicion="none", nothing="")["extra"]
    assert extra == {"budget": "small", "teeth": "[11, 12]", "suspicion": "none"}


def test_a_call_click_needs_nothing_but_site_and_id() -> None:
    data = CallClickSchema().load({"site": "demo", "id": "1", "tel": "+12015550100", "page": "https://c.example/a?b"})
    assert data == {"site": "demo", "id": "1", "tel": "+12015550100", "page": "https://c.example/a"}
    with pytest.raises(ValidationError) as caught:
        CallClickSchema().load({})
    assert set(caught.value.messages_dict) == {"site", "id"}


@pytest.mark.parametrize(("sent", "kept"), [("1" * 999, "1" * 60), (True, "true"), (["x"], '["x"]')])
def test_a_tap_is_never_refused_for_its_number_or_the_text_of_its_link(sent: Any, kept: str) -> None:
    data = CallClickSchema().load({"site": "demo", "id": "1", "tel": sent, "label": sent})
    assert data["tel"] == kept
    assert len(data["label"]) <= 100


@given(st.from_regex(r"[A-Za-z0-9_+.-]{1,70}@([A-Za-z0-9-]{1,10}\.){1,3}[a-z]{2,6}", fullmatch=True))
@example("a..b@example.com")
@example(".a@example.com")
@example("a" * 65 + "@example.com")
@example("jane@EXAMPLE.com")
@example("jane@bücher.example")
@example("a@" + "b." * 125 + "com")
@example("jane@")
def test_an_address_is_what_the_library_makes_of_it(typed: str) -> None:
    """Most local parts and domains are not looked at again by the library; that must change nothing."""

    def judged(by: Callable[[str], str]) -> str | None:
        try:
            return by(typed).casefold()
        except EmailNotValidError:
            return None

    whole = partial(validate_email, check_deliverability=False, test_environment=True)
    assert judged(address) == judged(lambda one: whole(one).normalized)
