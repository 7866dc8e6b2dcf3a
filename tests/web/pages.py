"""Reading and filling in the pages that the application serves, as a browser without scripts does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html.parser import HTMLParser

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ORIGIN = "https://clinic.example"
PUBLIC = "http://frontdesk.example:8443"  # not where the test client asks, as behind a proxy
FORM = "/f/demo/consultation"
JANE = {
    "first_name": "Jane",
    "last_name": "Doe",
    "email": "jane@example.com",
    "phone": "(201) 555-0123",
    "preferred_time": "after 5 pm",
    "message": "My <tooth> & me",
    "consent": "yes",
}


@dataclass
class Page(HTMLParser):
    """values: what the form's fields hold. ids: element id → its text. links: all that it loads or leads to."""

    html: str
    action: str = ""
    values: dict[str, str] = field(default_factory=dict)
    invalid: set[str] = field(default_factory=set)
    described_by: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside: list[str] = []
        self._area = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("href", "src") if name in given]
        if "id" in given:
            self.ids[given["id"]] = ""
            self._inside.append(given["id"])
        if tag == "form":
            self.action = given["action"]
        if tag in ("input", "textarea") and "name" in given:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        name = given["name"]
        if given.get("type") != "checkbox" or "checked" in given:
            self.values[name] = given.get("value", "")
        if tag == "textarea":
            self._area = name
        if given.get("aria-invalid") == "true":
            self.invalid.add(name)
        self.described_by[name] = given.get("aria-describedby", "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data
        for element in self._inside[-1:]:
            self.ids[element] += data

    def handle_endtag(self, tag: str) -> None:
        self._area = ""
        self._inside = []

    @property
    def foreign_links(self) -> list[str]:
        """What would be asked of another server."""
        return [link for link in self.links if not link.startswith(("/", "#", "data:")) or link.startswith("//")]


def page_of(response: TestResponse) -> Page:
    return Page(response.get_data(as_text=True))


def opened(client: FlaskClient, wait: float = 0.06) -> dict[str, str]:
    """The form's fields as a person has them in front of them, after the time that a person needs."""
    fields = page_of(client.get(FORM)).values
    time.sleep(wait)
    return fields


def filled(client: FlaskClient, **typed: str) -> dict[str, str]:
    """The form, shown and filled in."""
    return opened(client) | JANE | typed
