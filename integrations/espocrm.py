"""EspoCRM: a person is a lead, found by a field of our own; an event is a post in the lead's stream.

Sources: docs.espocrm.com, API pages CRUD, stream, search parameters and metadata; the source of EspoCRM 8 to 10 for
what they leave out (rights on posts, duplicate check, unknown attributes). EspoCRM has no upsert: we look first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from integrations import _espocrm as shapes
from integrations import _espocrm_setup as setup
from integrations._espocrm_api import Api
from integrations.core.base import Connector, Draft, Finding, Item, Pushed, RemoteField, Result, Seen
from integrations.core.errors import Misconfigured, Refused, TryLater, no_access
from integrations.core.http import Answer, Http
from integrations.core.notes import are_ours
from integrations.core.reading import text

_NUMBER_TAKEN = Refused(  # EspoCRM hides what is deleted, and does not tell in whose way it is
    "number_taken",
    "This person's lead was deleted in EspoCRM, where its number is still taken. Restore it, or remove it for good.",
)


class Espocrm(Connector):
    """Leads and posts are looked for before they are written. There is one writer, and it makes one call at a time, so
    the server's own speed is the pace: EspoCRM has no limits."""

    kind: ClassVar[str] = "espocrm"
    label: ClassVar[str] = "EspoCRM"
    tier = "B"
    options = setup.EspocrmOptions
    settle = 10.0
    fields: ClassVar[Mapping[str, str]] = {ours: theirs for theirs, ours in shapes.OURS.items()}
    fallbacks: ClassVar[Mapping[str, str]] = {"lastName": "(no name given)"}  # required until version 9

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self._api = Api(http, settings)

    def check(self) -> list[Finding]:
        """Whether the key works, our field is there, and the role may do what is needed."""
        return setup.check(self._api)

    def remote_fields(self) -> list[RemoteField]:
        """From EspoCRM's description of leads."""
        return setup.remote_fields(self._api)

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """The lead first, then the post, unless it is there already."""
        return [self._push(item) for item in batch]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """The lead with the post on it. Other records with our id are copies, as of a race or of an import."""
        return [self._seen(item) for item in items]

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """By the record that we know, else by our own id."""
        homes = [next(iter(self._homes(item)), None) for item in items]
        return [home and shapes.values(home, item) for item, home in zip(items, homes, strict=True)]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """It was converted, or posts on it are not ours."""
        return [self._is_worked_on(str(item.remote_id)) for item in items]

    def _is_worked_on(self, lead_id: str) -> bool:
        lead = self._api.lead(lead_id) or {}
        return lead.get("status") == shapes.CONVERTED or not are_ours(p.get("post") for p in self._api.posts(lead_id))

    def draft(self, item: Item) -> list[Draft]:
        """The lead, and the post on it."""
        return [
            Draft("POST", f"{self._api.address}/Lead", {**item.record, self._api.key: item.lead_id}),
            Draft("POST", f"{self._api.address}/Note", shapes.note_input(item, "{lead}")),
        ]

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """By the posts in their streams."""
        return {event for one in remote_ids for event in self._api.events(one)}

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Our posts, then the leads. EspoCRM hides what is deleted, and purges it after some months."""
        for lead_id in remote_ids:
            self._api.erase(lead_id)

    def _push(self, item: Item) -> Pushed:
        lead_id, is_new = self._write(item)
        if is_new or item.event_id not in self._api.events(lead_id):
            answer = self._api.ask("POST", "/Note", shapes.note_input(item, lead_id))
            shapes.record_in(answer)  # its id is EspoCRM's word that the post was kept
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
        body = {**item.record, self._api.key: item.lead_id}
        answer = self._api.call("POST", "/Lead", body)
        if answer.status == 409:
            if twin := self._twin(item, answer):
                return self._adopt(twin, item), False
            answer = self._api.call("POST", "/Lead", body, unchecked=True)  # a namesake: another person
        # A unique index is told as an empty 500; and one of their hooks may fail after the lead was stored.
        if answer.status in (409, 500):
            if stored := self._api.search(item.lead_id):
                return self._adopt(stored[0], item), False
            if item.remote_id:
                raise _NUMBER_TAKEN
        return self._kept(answer, body, is_new=True), True

    def _twin(self, item: Item, answer: Answer) -> dict[str, Any] | None:
        """Of the leads that EspoCRM takes for the same: one that is this person, rather one that is nobody's yet."""
        leads = [lead for one in shapes.duplicates_in(answer) if (lead := self._api.lead(one))]
        same = [lead for lead in leads if lead.get(self._api.key) == item.lead_id or shapes.is_same_person(item, lead)]
        same.sort(key=lambda lead: lead.get(self._api.key) not in (None, "", item.lead_id))
        return same[0] if same else None

    def _adopt(self, lead: Mapping[str, Any], item: Item) -> str:
        """Fill in what is empty. A lead that stands for another one of ours stays as it is."""
        if lead.get(self._api.key) not in (None, "", item.lead_id):
            return str(lead["id"])
        empty = {name: value for name, value in item.record.items() if not text(lead.get(name))}
        return self._update(lead, empty, item)

    def _update(self, lead: Mapping[str, Any], body: dict[str, Any], item: Item) -> str:
        if not lead.get(self._api.key):
            body[self._api.key] = item.lead_id
        if not body:
            return str(lead["id"])
        answer = self._api.call("PUT", f"/Lead/{lead['id']}", body, unchecked=True)
        if answer.status == 404:
            raise TryLater("gone", "The record was deleted while it was being written.", status=404)
        if answer.status == 403:  # rights may reach to one's own leads alone
            if lead.get(self._api.key) == item.lead_id:
                raise no_access("EspoCRM", "leads")
            return str(lead["id"])  # the clinic's own can still get the post
        return self._kept(answer, body)

    def _kept(self, answer: Answer, body: Mapping[str, Any], *, is_new: bool = False) -> str:
        """The id of the lead in the answer. EspoCRM says nothing of fields that it does not know or let us write."""
        if answer.status not in (200, 201):
            raise shapes.verdict(answer, self._api.key)
        lead = shapes.record_in(answer)
        if self._api.key in body and lead.get(self._api.key) != body[self._api.key]:
            if is_new:  # taken back: without our number it would be made again at each try
                self._api.call("DELETE", f"/Lead/{lead['id']}")
            raise Misconfigured("missing_field", shapes.without_field(self._api.key))
        if lost := sorted(body.keys() - lead.keys()):
            raise Misconfigured("unknown_field", f"EspoCRM has no lead field {lost[0]}, or its role may not see it.")
        return str(lead["id"])

    def _seen(self, item: Item) -> Seen | None:
        homes = self._homes(item)
        holder = next((lead for lead in homes if item.event_id in self._api.events(lead["id"])), None)
        if holder is None:
            return None
        copies = tuple(lead["id"] for lead in homes if lead is not holder)
        return Seen(holder["id"], self._page(holder["id"]), shapes.values(holder, item), copies)

    def _homes(self, item: Item) -> list[dict[str, Any]]:
        """The record that we know of, then the others that carry our id, oldest first."""
        ours = self._api.search(item.lead_id)
        if not item.remote_id:
            return ours
        known = [lead for lead in ours if lead["id"] == item.remote_id]
        if not known and (adopted := self._api.lead(item.remote_id)):
            known = [adopted]
        return known + [lead for lead in ours if lead["id"] != item.remote_id]

    def _page(self, lead_id: str) -> str:
        return f"{self._api.home}/#Lead/view/{lead_id}"
