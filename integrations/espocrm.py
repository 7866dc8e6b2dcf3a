"""EspoCRM: a person is a lead, found by a field of our own; an event is a post in the lead's stream.

Sources: docs.espocrm.com, API pages CRUD, stream, search parameters and metadata; the source of EspoCRM 8 to 10 for
what they leave out (rights on posts, duplicate check, unknown attributes). EspoCRM has no upsert: we look first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from marshmallow import fields, validate

from integrations._espocrm import (
    FIELDS_PATH,
    duplicates_in,
    equals,
    events_in,
    fields_in,
    is_same_person,
    lacks_field,
    lead_in,
    note_input,
    rights_findings,
    rows,
    text,
    verdict,
    without_field,
)
from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, RemoteField, Result, Seen
from integrations.core.errors import Misconfigured, TryLater
from integrations.core.http import Answer

_PAGE = 50  # an administrator may set less than EspoCRM's own 200
_KEPT_FROM_US = (200, 204, 403, 404)  # a post older than a month is not ours to delete; it goes with its lead


class EspocrmOptions(Options):
    url = fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        metadata={"label": "Address", "help": "Where you open EspoCRM, such as https://crm.example.com"},
    )
    api_key = fields.String(
        required=True,
        metadata={"label": "API key", "help": "From Administration, API Users.", "secret": True},
    )
    key_field = fields.String(
        load_default="externalId",
        validate=validate.Regexp(r"^[a-zA-Z][a-zA-Z0-9]{0,99}$"),
        metadata={
            "label": "Field for our number",
            "help": "The text field of leads that you made for it. EspoCRM may have put a c before it: cExternalId.",
        },
    )


class Espocrm(Connector):
    """Leads and posts are looked for before they are written. There is one writer, and it makes one call at a time, so
    the server's own speed is the pace: EspoCRM has no limits."""

    kind: ClassVar[str] = "espocrm"
    label: ClassVar[str] = "EspoCRM"
    tier = "B"
    options = EspocrmOptions
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstName",
        "last_name": "lastName",
        "email": "emailAddress",
        "phone": "phoneNumber",
    }
    fallbacks: ClassVar[Mapping[str, str]] = {"lastName": "(no name given)"}  # required until version 9

    def check(self) -> list[Finding]:
        """Whether the key works, our field is there, and the role may do what is needed."""
        answer = self._call("GET", "/Lead", params=equals(self._key, "frontdesk-check"))
        if lacks_field(answer):
            return [Finding(False, without_field(self._key))]
        if answer.status != 200:
            raise verdict(answer, self._key)
        return rights_findings(self._ask("GET", "/App/user"))

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The lead first, then the post, unless it is there already."""
        return [self._push(item) for item in batch]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The lead with the post on it. Other records with our id are copies, as of a race or of an import."""
        return [self._seen(item) for item in items]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        homes = [next(iter(self._homes(item)), None) for item in items]
        return [home and _values(home, item) for item, home in zip(items, homes, strict=True)]

    def remote_fields(self) -> list[RemoteField]:
        """From EspoCRM's description of leads. Before version 8.2 it is not told apart from that of everything."""
        return fields_in(self._ask("GET", "/Metadata", params={"key": FIELDS_PATH}))

    def draft(self, item: Item) -> list[Draft]:
        """The lead, and the post on it."""
        return [
            Draft("POST", f"{self._api}/Lead", {**item.record, self._key: item.lead_id}),
            Draft("POST", f"{self._api}/Note", note_input(item, "{lead}")),
        ]

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Delete our posts, then the leads. EspoCRM hides what is deleted, and purges it after some months."""
        for lead_id in remote_ids:
            for post in self._posts(lead_id):
                if events_in(post):
                    self._ask("DELETE", f"/Note/{post['id']}", fine=_KEPT_FROM_US)
            self._ask("DELETE", f"/Lead/{lead_id}", fine=(200, 204, 404))

    def _push(self, item: Item) -> Pushed:
        lead_id, is_new = self._write(item)
        if is_new or not self._holds(lead_id, item):
            answer = self._ask("POST", "/Note", note_input(item, lead_id))
            lead_in(answer)  # the post: its id is EspoCRM's word that it was kept
        return Pushed(lead_id, self._page(lead_id))

    def _write(self, item: Item) -> tuple[str, bool]:
        """The id of the person's record, and whether it was made just now."""
        homes = self._homes(item)
        if not homes:
            return self._create(item)
        if homes[0]["id"] == item.remote_id:
            return self._update(homes[0], dict(item.record), item), False
        return self._adopt(homes[0], item), False

    def _create(self, item: Item) -> tuple[str, bool]:
        body = {**item.record, self._key: item.lead_id}
        answer = self._call("POST", "/Lead", body)
        if answer.status == 409:
            if twin := self._twin(item, answer):
                return self._adopt(twin, item), False
            answer = self._call("POST", "/Lead", body, unchecked=True)  # a namesake: another person
        # A unique index is told as an empty 500; and one of their hooks may fail after the lead was stored.
        if answer.status in (409, 500) and (stored := self._search(item.lead_id)):
            return self._adopt(stored[0], item), False
        return self._kept(answer, body, is_new=True), True

    def _twin(self, item: Item, answer: Answer) -> dict[str, Any] | None:
        """Of the leads that EspoCRM takes for the same: one that is this person, rather one that is nobody's yet."""
        leads = [lead for one in duplicates_in(answer) if (lead := self._read(one))]
        same = [lead for lead in leads if lead.get(self._key) == item.lead_id or is_same_person(item, lead)]
        same.sort(key=lambda lead: lead.get(self._key) not in (None, "", item.lead_id))
        return same[0] if same else None

    def _adopt(self, lead: Mapping[str, Any], item: Item) -> str:
        """Fill in what is empty. A lead that stands for another one of ours stays as it is."""
        if lead.get(self._key) not in (None, "", item.lead_id):
            return str(lead["id"])
        empty = {name: value for name, value in item.record.items() if not text(lead.get(name))}
        return self._update(lead, empty, item)

    def _update(self, lead: Mapping[str, Any], body: dict[str, Any], item: Item) -> str:
        if not lead.get(self._key):
            body[self._key] = item.lead_id
        if not body:
            return str(lead["id"])
        answer = self._call("PUT", f"/Lead/{lead['id']}", body, unchecked=True)
        if answer.status == 404:
            raise TryLater("gone", "The record was deleted while it was being written.", status=404)
        return self._kept(answer, body)

    def _kept(self, answer: Answer, body: Mapping[str, Any], *, is_new: bool = False) -> str:
        """The id of the lead in the answer. EspoCRM says nothing of fields that it does not know or let us write."""
        if answer.status not in (200, 201):
            raise verdict(answer, self._key)
        lead = lead_in(answer)
        if self._key in body and lead.get(self._key) != body[self._key]:
            if is_new:  # taken back: without our number it would be made again at each try
                self._call("DELETE", f"/Lead/{lead['id']}")
            raise Misconfigured("missing_field", without_field(self._key))
        if lost := sorted(body.keys() - lead.keys()):
            raise Misconfigured("unknown_field", f"EspoCRM has no lead field {lost[0]}, or its role may not see it.")
        return str(lead["id"])

    def _seen(self, item: Item) -> Seen | None:
        homes = self._homes(item)
        holder = next((lead for lead in homes if self._holds(lead["id"], item)), None)
        if holder is None:
            return None
        copies = tuple(lead["id"] for lead in homes if lead is not holder)
        return Seen(holder["id"], self._page(holder["id"]), _values(holder, item), copies)

    def _homes(self, item: Item) -> list[dict[str, Any]]:
        """The record that we know of, then the others that carry our id, oldest first."""
        ours = self._search(item.lead_id)
        if not item.remote_id:
            return ours
        known = [lead for lead in ours if lead["id"] == item.remote_id]
        if not known and (adopted := self._read(item.remote_id)):
            known = [adopted]
        return known + [lead for lead in ours if lead["id"] != item.remote_id]

    def _search(self, lead_id: str) -> list[dict[str, Any]]:
        return rows(self._ask("GET", "/Lead", params=equals(self._key, lead_id)))

    def _read(self, lead_id: str) -> dict[str, Any] | None:
        answer = self._ask("GET", f"/Lead/{lead_id}", fine=(200, 404))
        lead = lead_in(answer) if answer.status == 200 else {}
        return lead if lead and not lead.get("deleted") else None

    def _holds(self, lead_id: str, item: Item) -> bool:
        return any(item.event_id in events_in(post) for post in self._posts(lead_id))

    def _posts(self, lead_id: str) -> list[dict[str, Any]]:
        """All posts in a lead's stream; none when there is no such lead."""
        found: list[dict[str, Any]] = []
        while True:
            params = {"maxSize": str(_PAGE), "offset": str(len(found))}
            answer = self._ask("GET", f"/Lead/{lead_id}/posts", params=params, fine=(200, 404))
            page = rows(answer) if answer.status == 200 else []
            found += page
            if len(page) < _PAGE:
                return found

    def _ask(self, method: str, path: str, body: Any = None, fine: Sequence[int] = (200, 201), **more: Any) -> Answer:
        """A call that must be answered with a `fine` status. Raises what EspoCRM says went wrong."""
        answer = self._call(method, path, body, **more)
        if answer.status not in fine:
            raise verdict(answer, self._key)
        return answer

    def _call(self, method: str, path: str, body: Any = None, *, params: Any = None, unchecked: bool = False) -> Answer:
        """unchecked: EspoCRM shall not look for duplicates."""
        headers = {"X-Api-Key": self.settings["api_key"]} | ({"X-Skip-Duplicate-Check": "true"} if unchecked else {})
        return self.http.request(method, self._api + path, json=body, headers=headers, params=params)

    @property
    def _key(self) -> str:
        return str(self.settings["key_field"])

    @property
    def _api(self) -> str:
        return f"{self.settings['url'].rstrip('/')}/api/v1"

    def _page(self, lead_id: str) -> str:
        return f"{self.settings['url'].rstrip('/')}/#Lead/view/{lead_id}"


def _values(lead: Mapping[str, Any], item: Item) -> dict[str, str]:
    return {name: text(lead.get(name)) for name in item.in_full().record}
