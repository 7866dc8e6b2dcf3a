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

from integrations import _pipedrive as shapes
from integrations import _pipedrive_setup as setup
from integrations._pipedrive_answers import allowance
from integrations._pipedrive_api import ACTIVITIES, PERSONS, Api
from integrations.core.base import Allowance, Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import Misconfigured, no_access
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours
from integrations.core.oauth import OAuth

Person = Mapping[str, Any]


class Pipedrive(Connector):
    """A person is searched for before one is made, and an event among that person's activities."""

    kind: ClassVar[str] = "pipedrive"
    label: ClassVar[str] = "Pipedrive"
    tier = "B"
    options = setup.PipedriveOptions
    people_sign_in: ClassVar[bool] = True
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
        """Made at the first call: the sign-in names the address at which this account lives."""
        home = self.settings.get("token", {}).get("api_domain") or self.pages
        is_users = self.settings.get("sign_in") == "token"
        return Api(self.http, home, self.settings.get("api_token") if is_users else None)

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """Not with a user's token."""
        return setup.sign_in(settings)

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Some answers tell."""
        return allowance(answer)

    def check(self) -> list[Finding]:
        """Whether people and fields may be read, our field is there, and the kind of activity too."""
        return setup.check(self.api, self.activity_type)

    def prepare(self) -> list[Finding]:
        """Create the field that holds our lead's id."""
        return setup.prepare(self.api)

    def remote_fields(self) -> list[RemoteField]:
        """Name, e-mail and phone, and the account's own fields that take text."""
        return setup.remote_fields(self.api)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The person first, then the activity, if there is none yet."""
        return [self._write(item) for item in batch]

    def _write(self, item: Item) -> Pushed:
        self._refuse_unknown(item)
        new = shapes.person_input(item, self.api.key, self.api.own)
        person, there = self._person(item), set[str]()
        if person is None:
            person = self.api.add(PERSONS, new)
        else:
            self._change(item, person)
            there = self.api.events(person["id"])
        if item.event_id not in there:
            self.api.add(ACTIVITIES, shapes.activity_input(item, person["id"], self.activity_type))
        return Pushed(*self._place(person))

    def _change(self, item: Item, person: Person) -> None:
        """Write what is new. The clinic's own person whom we may not edit can still get the activity."""
        changed = shapes.changes(item, person, self.api.key, self.api.own)
        done = not changed or self.api.change(f"{PERSONS}/{person['id']}", changed)
        if not done and shapes.value(person, self.api.key) == item.lead_id:
            raise no_access("Pipedrive", "people")

    def draft(self, item: Item) -> list[Draft]:
        """As for a person who is new. Nothing is asked for it: where no push has read the code of our field, which
        differs from account to account, its name stands in its place."""
        own = self.api.own_so_far
        key = shapes.code_of_ours(own) or f"{{{shapes.KEY_NAME}}}"
        return [
            Draft("POST", self.api.address + PERSONS, shapes.person_input(item, key, own)),
            Draft("POST", self.api.address + ACTIVITIES, shapes.activity_input(item, "{person}", self.activity_type)),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the person that we know, else by our own id, else by the e-mail address."""
        full = [item.in_full() for item in items]
        found = [(item, self._person(item)) for item in full]
        return [person and {name: shapes.value(person, name) for name in item.record} for item, person in found]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Activities that are not ours; or notes, deals, e-mails or files, which never are. What a person had who was
        merged into another is that one's."""
        busy = self.api.with_work([str(item.remote_id) for item in items])
        return [item.remote_id in busy or self._has_others_activities(item) for item in items]

    def _has_others_activities(self, item: Item) -> bool:
        return not are_ours(one.get("note") for one in self.api.activities(item.remote_id))

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The person with the activity."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        person = self._person(item)
        if person is None or item.event_id not in self.api.events(person["id"]):
            return None
        return Seen(*self._place(person), {name: shapes.value(person, name) for name in item.record})

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By their activities."""
        return {event for one in remote_ids for event in self.api.events(one)}

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
            return shapes.value(person, self.api.key) == item.lead_id

        def is_free(person: Person) -> bool:
            return shapes.has_email(person, email) and not shapes.value(person, self.api.key)

        ours = _first(newest, is_ours) or _first(self.api.search(item.lead_id, "custom_fields"), is_ours)
        if ours or not email:
            return ours
        return _first(newest, is_free) or _first(self.api.search(email, "email"), is_free)

    def _refuse_unknown(self, item: Item) -> None:
        """Raise Misconfigured for a field that this account has not."""
        if unknown := sorted(item.record.keys() - {one.name for one in shapes.STANDARD} - self.api.own.keys()):
            sentence = f"Pipedrive has no person field {unknown[0]}. Choose another one in the mapping."
            raise Misconfigured("unknown_property", sentence)

    def _place(self, person: Person) -> tuple[str, str]:
        return str(person["id"]), f"{self.pages}/person/{person['id']}"


def _first(people: Iterable[Person], is_it: Callable[[Person], bool]) -> Person | None:
    return next((person for person in people if is_it(person)), None)
