"""Pipedrive: a person carries our id in a field of the account's own; an event is an activity with that person.

Pipedrive has no upsert and keeps no field unique, so a person is looked for before one is made: among those added last
as well, since a person whose activity was refused a moment ago is not in the search yet.
Sources: developers.pipedrive.com/docs/api/v1 (which holds version 2 too), pipedrive.readme.io (rate limiting, OAuth
authorization, custom fields, version 2 migration guide).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from integrations._pipedrive import (
    KEY_NAME,
    STANDARD,
    activity_input,
    changes,
    events_in,
    field_of,
    has_email,
    is_open,
    person_input,
    value,
)
from integrations._pipedrive_answers import BURST_ENDS, BURST_LEFT, DAILY_LEFT, DAILY_OF
from integrations._pipedrive_api import ACTIVITIES, PERSONS, Api
from integrations.core.base import (
    Allowance,
    Connector,
    Draft,
    Finding,
    Item,
    Options,
    Pushed,
    RemoteField,
    Result,
    Seen,
)
from integrations.core.errors import Misconfigured
from integrations.core.http import Answer, Http
from integrations.core.oauth import OAuth

_BY_HAND = f"In Pipedrive, Company settings, Data fields, Person: add a custom field “{KEY_NAME}” of the type Text."

Person = Mapping[str, Any]


class PipedriveOptions(Options):
    address = fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Address of your Pipedrive", "help": "Such as https://clinic.pipedrive.com"},
    )
    sign_in = fields.String(
        load_default="token",
        validate=validate.OneOf(["token", "oauth"]),
        metadata={"label": "Signs in by", "help": "token: a user's own. oauth: a private app of yours."},
    )
    api_token = fields.String(
        metadata={"label": "API token", "help": "Personal preferences, API. For “token”.", "secret": True}
    )
    client_id = fields.String(metadata={"label": "Client ID", "help": "From the Developer Hub. For “oauth”."})
    client_secret = fields.String(
        metadata={"label": "Client secret", "help": "From the same page. For “oauth”.", "secret": True}
    )
    activity_type = fields.String(
        load_default="call",
        metadata={"label": "Kind of activity", "help": "Its key, as under Company settings, Activities."},
    )
    accounts = fields.Url(
        load_default="https://oauth.pipedrive.com",
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Sign-in address", "help": "Leave as it is."},
    )

    @validates_schema
    def _has_what_it_signs_in_with(self, given: Mapping[str, Any], **_: Any) -> None:
        needed = ["api_token"] if given["sign_in"] == "token" else ["client_id", "client_secret"]
        if missing := {name: ["is needed to sign in like this."] for name in needed if not given.get(name)}:
            raise ValidationError(missing)


class Pipedrive(Connector):
    """A person is searched for before one is made, and an event among that person's activities."""

    kind: ClassVar[str] = "pipedrive"
    label: ClassVar[str] = "Pipedrive"
    tier = "B"
    options = PipedriveOptions
    settle = 10.0
    pace = 5.0  # of the 10 searches, and 20 calls, that the smallest plan allows in two seconds
    fields: ClassVar[Mapping[str, str]] = {"full_name": "name", "email": "emails", "phone": "phones"}
    fallbacks: ClassVar[Mapping[str, str]] = {"name": "Unknown"}

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self.activity_type = str(settings.get("activity_type", "call"))
        self.pages = str(settings.get("address", "")).rstrip("/")

    @cached_property
    def api(self) -> Api:
        """Made at the first call: the sign-in names the address at which this account lives, and may fail."""
        home = self.settings.get("token", {}).get("api_domain") or self.pages
        is_users = self.settings.get("sign_in") == "token"
        return Api(self.http, home, self.settings.get("api_token") if is_users else None)

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """Scopes are ticked in the app, not asked for; PKCE is not in Pipedrive's documentation."""
        if settings.get("sign_in") != "oauth":
            return None
        home = str(settings["accounts"]).rstrip("/")
        return OAuth(
            token_url=f"{home}/oauth/token",
            authorize_url=f"{home}/oauth/authorize",
            client_auth="client_secret_basic",
            pkce=False,
            keep=("api_domain",),
            refresh_days=60,
        )

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """What is left of the two seconds, and of the day's tokens. Pipedrive does not always tell."""
        told = [answer.headers.get(name, "") for name in (BURST_LEFT, BURST_ENDS, DAILY_LEFT, DAILY_OF)]
        left, ends, today, of_today = (int(text) if text.isdigit() else None for text in told)
        return None if left is None and today is None else Allowance(left, ends, today, of_today)

    def check(self) -> list[Finding]:
        """Whether people and fields may be read, our field is there, and the kind of activity too."""
        if not any(row.get("field_name") == KEY_NAME for row in self.api.fields()):
            return [Finding(False, f"Pipedrive has no person field “{KEY_NAME}”. {_BY_HAND}")]
        self.api.newest()
        if self.activity_type not in self.api.kinds_of_activity():
            return [Finding(False, f"Pipedrive has no activity type in use with the key “{self.activity_type}”.")]
        return [Finding(True, "Pipedrive accepts the sign-in and has all that is needed.")]

    def prepare(self) -> list[Finding]:
        """Create the field that holds our lead's id."""
        if any(row.get("field_name") == KEY_NAME for row in self.api.fields()):
            return []
        self.api.make_key()
        return [Finding(True, f"Created the person field “{KEY_NAME}” in Pipedrive.")]

    def remote_fields(self) -> list[RemoteField]:
        """Name, e-mail and phone, and the account's own fields that take text."""
        return [*STANDARD, *(field_of(row) for row in self.api.fields() if is_open(row))]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The person first, then the activity, if there is none yet."""
        return [self._write(item) for item in batch]

    def _write(self, item: Item) -> Pushed:
        self._refuse_unknown(item)
        new = person_input(item, self._key, self._own)
        person, there = self._person(item), set[str]()
        if person is None:
            person = self.api.add(PERSONS, new)
        else:
            if changed := changes(item, person, self._key, self._own):
                self.api.change(f"{PERSONS}/{person['id']}", changed)
            there = self._events(person)
        if item.event_id not in there:
            self.api.add(ACTIVITIES, activity_input(item, person["id"], self.activity_type))
        return Pushed(*self._place(person))

    def draft(self, item: Item) -> list[Draft]:
        """As for a person who is new. Nothing is asked for it: where no push has read the code of our field, which
        differs from account to account, its name stands in its place."""
        own = vars(self).get("_own", {})
        key = _code_of_ours(own) or f"{{{KEY_NAME}}}"
        return [
            Draft("POST", self.api.address + PERSONS, person_input(item, key, own)),
            Draft("POST", self.api.address + ACTIVITIES, activity_input(item, "{person}", self.activity_type)),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the person that we know, else by our own id, else by the e-mail address."""
        full = [item.in_full() for item in items]
        found = [(item, self._person(item)) for item in full]
        return [person and {name: value(person, name) for name in item.record} for item, person in found]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The person with the activity."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        person = self._person(item)
        if person is None or item.event_id not in self._events(person):
            return None
        return Seen(*self._place(person), {name: value(person, name) for name in item.record})

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Pipedrive keeps what is deleted for 30 days, in which it can be restored."""
        for one in remote_ids:
            for activity in self.api.activities(one):
                self.api.delete(f"{ACTIVITIES}/{activity['id']}")
            self.api.delete(f"{PERSONS}/{one}")

    def _person(self, item: Item) -> Person | None:
        """The one that we know, else the one with our id, else one of nobody's with the same e-mail address."""
        if item.remote_id and (known := self.api.person(item.remote_id)):
            return known
        newest, email = self.api.newest(), item.record.get("emails", "")

        def is_ours(person: Person) -> bool:
            return value(person, self._key) == item.lead_id

        def is_free(person: Person) -> bool:
            return has_email(person, email) and not value(person, self._key)

        ours = _first(newest, is_ours) or _first(self.api.search(item.lead_id, "custom_fields"), is_ours)
        if ours or not email:
            return ours
        return _first(newest, is_free) or _first(self.api.search(email, "email"), is_free)

    def _events(self, person: Person) -> set[str]:
        """Our events that the activities with a person tell of."""
        return {event for activity in self.api.activities(person["id"]) for event in events_in(activity)}

    def _refuse_unknown(self, item: Item) -> None:
        """Raise Misconfigured for a field that this account has not."""
        if unknown := sorted(item.record.keys() - {one.name for one in STANDARD} - self._own.keys()):
            sentence = f"Pipedrive has no person field {unknown[0]}. Choose another one in the mapping."
            raise Misconfigured("unknown_property", sentence)

    @cached_property
    def _own(self) -> dict[str, RemoteField]:
        """The account's own fields of a person, by their code."""
        return {str(row.get("field_code")): field_of(row) for row in self.api.fields() if row.get("is_custom_field")}

    @cached_property
    def _key(self) -> str:
        """The code of our own field, which Pipedrive made up for this account."""
        if code := _code_of_ours(self._own):
            return code
        raise Misconfigured("unknown_property", f"Pipedrive has no person field “{KEY_NAME}”. {_BY_HAND}")

    def _place(self, person: Person) -> tuple[str, str]:
        return str(person["id"]), f"{self.pages}/person/{person['id']}"


def _code_of_ours(fields: Mapping[str, RemoteField]) -> str | None:
    return next((code for code, field in fields.items() if field.label == KEY_NAME), None)


def _first(people: Iterable[Person], is_it: Callable[[Person], bool]) -> Person | None:
    return next((person for person in people if is_it(person)), None)
