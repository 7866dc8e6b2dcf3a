"""HighLevel (GoHighLevel, LeadConnector): a person is a contact of one sub-account, an event is a note on it.

It has no unique key of ours: a contact is looked for by a custom field before it is made, and where the sub-account
allows no duplicates, HighLevel itself names the one that has the e-mail or phone.
Sources: github.com/GoHighLevel/highlevel-api-docs (CC0), its issues 31, 37, 42, 64;
marketplace.gohighlevel.com/docs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from integrations import _gohighlevel as shapes
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
from integrations.core.http import Answer
from integrations.core.oauth import OAuth

SIGN_IN = "https://marketplace.gohighlevel.com/oauth/chooselocation"
_BY_HAND = f"In HighLevel, under Settings, Custom Fields, add a contact field “{shapes.NAME}” of type Single Line."
_AGENCY = "This sign-in is for an agency. Sign in again and choose the clinic's sub-account."


class GohighlevelOptions(Options):
    key = fields.String(
        metadata={
            "label": "Private Integration token",
            "help": f"Begins with pit-. Scopes: {', '.join(shapes.SCOPES)}. Leave it empty to sign in instead.",
            "secret": True,
        }
    )
    location_id = fields.String(
        validate=validate.Regexp(r"[A-Za-z0-9_-]{5,60}\Z", error="must be letters and digits"),
        metadata={"label": "Location ID", "help": "Settings, Business Profile. Needed with a token."},
    )
    client_id = fields.String(metadata={"label": "Client ID", "help": "Of your own marketplace app, to sign in."})
    client_secret = fields.String(metadata={"label": "Client secret", "help": "Of the same app.", "secret": True})
    pages = fields.Url(
        load_default="https://app.gohighlevel.com",
        schemes={"https"},
        metadata={"label": "Address of HighLevel's pages", "help": "Your agency's own, if it has one."},
    )
    api = fields.Url(
        load_default="https://services.leadconnectorhq.com",
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "API address", "help": "Leave as it is."},
    )

    @validates_schema
    def _has_a_way_in(self, data: Mapping[str, Any], **_: Any) -> None:
        if not data.get("key") and not (data.get("client_id") and data.get("client_secret")):
            raise ValidationError("Enter a token, or the client ID and secret of your app.", "key")
        if data.get("key") and not data.get("location_id"):
            raise ValidationError("A token needs the location ID beside it.", "location_id")


class Gohighlevel(Connector):
    """Looked for by our own field before it is made; a note is looked for on its contact."""

    kind: ClassVar[str] = "gohighlevel"
    label: ClassVar[str] = "GoHighLevel"
    tier = "B"
    options = GohighlevelOptions
    pace = 8.0  # of 100 in 10 seconds, for an app at one sub-account
    settle = shapes.SETTLE
    fields: ClassVar[Mapping[str, str]] = {ours: theirs for theirs, ours in shapes.OURS.items()}

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """With a token there is nothing to sign in to. A refresh token is good for one use or one year."""
        if settings.get("key"):
            return None
        return OAuth(
            token_url=f"{settings['api']}/oauth/token",
            authorize_url=SIGN_IN,
            scopes=shapes.SCOPES,
            pkce=False,  # it refuses a form with a field that it does not know
            token_extra={"user_type": "Location"},
            keep=("locationId",),
            refresh_days=365,
        )

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """Each answer tells."""
        return shapes.allowance(answer)

    def check(self) -> list[Finding]:
        """Whether the token works for this sub-account and our field is there."""
        if not self._location:
            return [Finding(False, _AGENCY)]
        if shapes.KEY not in {row.get("fieldKey") for row in self._custom_fields()}:
            return [Finding(False, f"HighLevel has no contact field {shapes.KEY}. {_BY_HAND}")]
        self._search([], 1)
        return [Finding(True, "HighLevel accepts the token and has all that is needed.")]

    def prepare(self) -> list[Finding]:
        """Create the field that holds our lead's id."""
        if not self._location or shapes.KEY in {row.get("fieldKey") for row in self._custom_fields()}:
            return []
        wanted = {"name": shapes.NAME, "dataType": "TEXT", "model": "contact"}
        answer = self._call("POST", f"/locations/{self._location}/customFields", wanted)
        if not shapes.is_good(answer):
            return [Finding(False, f"{shapes.verdict(answer).sentence} {_BY_HAND}")]
        shapes.with_id(answer, "customField")
        return [Finding(True, f"Created the contact field “{shapes.NAME}” in HighLevel.")]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """`batch_size` is one: HighLevel takes one contact at a time. The person first, then the note."""
        return [self._push(item) for item in batch]

    def _push(self, item: Item) -> Pushed:
        contact_id, is_new = self._person(item)
        if is_new or item.event_id not in self._events(contact_id):
            answer = self._call("POST", f"/contacts/{contact_id}/notes", shapes.note_body(item))
            if not shapes.is_good(answer):
                raise shapes.after_new(shapes.verdict(answer)) if is_new else shapes.verdict(answer)
            shapes.with_id(answer, "note")
        return Pushed(contact_id, self._url(contact_id))

    def draft(self, item: Item) -> list[Draft]:
        """A new contact, and the note on it. The ids of custom fields are HighLevel's own."""
        record = {**item.record, shapes.KEY: item.lead_id}
        body = shapes.contact_body(record, {name: f"{{{name}}}" for name in record})
        return [
            Draft("POST", f"{self.settings['api']}/contacts/", {"locationId": self._location, **body}),
            Draft("POST", f"{self.settings['api']}/contacts/{{contact}}/notes", shapes.note_body(item)),
        ]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the contact that we know, else by our own field."""
        found = [self._read(item.remote_id or next(iter(self._ours(item)), None)) for item in items]
        whole = [item.in_full().record for item in items]
        return [one and shapes.record_of(one, names, self._ids) for one, names in zip(found, whole, strict=True)]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The contact with the note on it. More contacts with our id were made by a try that nobody heard of."""
        return [self._seen(item) for item in items]

    def _seen(self, item: Item) -> Seen | None:
        ours = self._ours(item)
        contact_id = item.remote_id or next(iter(ours), None)
        contact = self._read(contact_id)
        if contact is None or contact_id is None or item.event_id not in self._events(contact_id):
            return None
        record = shapes.record_of(contact, item.record, self._ids)
        return Seen(contact_id, self._url(contact_id), record, tuple(one for one in ours if one != contact_id))

    def erase(self, remote_ids: Sequence[str]) -> None:
        """The notes first: a deleted contact can be restored in HighLevel for some weeks."""
        for contact_id in remote_ids:
            for note in self._notes(contact_id):
                self._gone(self._call("DELETE", f"/contacts/{contact_id}/notes/{note['id']}"))
            self._gone(self._call("DELETE", f"/contacts/{contact_id}"))

    def remote_fields(self) -> list[RemoteField]:
        """The standard ones, and the sub-account's own that a text can be written to."""
        own = [shapes.remote_field(row) for row in self._custom_fields() if row.get("fieldKey") != shapes.KEY]
        return shapes.standard_fields() + [one for one in own if one]

    def _person(self, item: Item) -> tuple[str, bool]:
        """The contact's id, and whether it was made just now."""
        if known := self._read(item.remote_id):
            self._update(known["id"], item.record)
            return known["id"], False
        if ours := self._read(next(iter(self._ours(item)), None)):
            return self._adopt(item, ours), False
        record = shapes.contact_body({**item.record, shapes.KEY: item.lead_id}, self._ids)
        answer = self._call("POST", "/contacts/", {"locationId": self._location, **record})
        if (taken := shapes.duplicate(answer)) and (theirs := self._read(taken[0])):
            return self._adopt(item, theirs), False
        return str(shapes.with_id(answer, "contact")["id"]), True

    def _adopt(self, item: Item, contact: Mapping[str, Any]) -> str:
        """Fill in what is empty, our field too. A contact that stands for another lead stays as it is."""
        wanted = {**item.record, shapes.KEY: item.lead_id}
        held = shapes.record_of(contact, wanted, self._ids)
        if held[shapes.KEY] in ("", item.lead_id):
            self._update(contact["id"], {name: value for name, value in wanted.items() if not held[name]})
        return str(contact["id"])

    def _update(self, contact_id: str, record: Mapping[str, str]) -> None:
        """What another contact holds already, an e-mail or phone, stays there and is left out here."""
        if not record:
            return
        answer = self._call("PUT", f"/contacts/{contact_id}", shapes.contact_body(record, self._ids))
        if (taken := shapes.duplicate(answer)) and taken[1] in record:
            self._update(contact_id, {name: value for name, value in record.items() if name != taken[1]})
        else:
            shapes.with_id(answer, "contact")

    def _read(self, contact_id: str | None) -> dict[str, Any] | None:
        if contact_id is None:
            return None
        answer = self._call("GET", f"/contacts/{contact_id}")
        contact = None if shapes.is_missing(answer) else shapes.with_id(answer, "contact")
        return None if contact and contact.get("deleted") else contact

    def _ours(self, item: Item) -> list[str]:
        """The contacts that carry our id of this person, the oldest first."""
        mine = {"field": f"customFields.{self._ids[shapes.KEY]}", "operator": "eq", "value": item.lead_id}
        return [str(row["id"]) for row in self._search([mine], 20)]

    def _search(self, filters: list[Any], most: int) -> list[dict[str, Any]]:
        oldest = [{"field": "dateAdded", "direction": "asc"}]
        body = {"locationId": self._location, "page": 1, "pageLimit": most, "filters": filters, "sort": oldest}
        return shapes.rows(self._call("POST", "/contacts/search", body, reads=True), "contacts")

    def _events(self, contact_id: str) -> set[str]:
        return shapes.events_in(self._notes(contact_id))

    def _notes(self, contact_id: str) -> list[dict[str, Any]]:
        answer = self._call("GET", f"/contacts/{contact_id}/notes")
        return [] if shapes.is_missing(answer) else shapes.rows(answer, "notes")

    def _gone(self, answer: Answer) -> None:
        if not shapes.is_missing(answer) and not shapes.is_good(answer):
            raise shapes.verdict(answer)

    def _custom_fields(self) -> list[dict[str, Any]]:
        path = f"/locations/{self._location}/customFields"
        return shapes.rows(self._call("GET", path, params={"model": "contact"}), "customFields")

    @cached_property
    def _ids(self) -> dict[str, str]:
        """Key of a custom field → its id: contacts tell only the id."""
        ids = {str(row.get("fieldKey")): str(row["id"]) for row in self._custom_fields()}
        if shapes.KEY not in ids:
            raise Misconfigured("no_field", f"HighLevel has no contact field {shapes.KEY}. {_BY_HAND}")
        return ids

    @property
    def _location(self) -> str:
        signed_in: Mapping[str, str] = self.settings.get("token") or {}
        return str(signed_in.get("locationId") or self.settings.get("location_id") or "")

    def _url(self, contact_id: str) -> str:
        return f"{self.settings['pages']}/v2/location/{self._location}/contacts/detail/{contact_id}"

    def _call(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, str] | None = None, reads: bool = False
    ) -> Answer:
        key = self.settings.get("key")
        headers = {"Version": "2021-07-28"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self.http.request(
            method, self.settings["api"] + path, json=body, headers=headers, params=params, reads=reads
        )
