"""The calls to Dataverse's Web API that a connection makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from integrations._dynamics import API, Row, code_of, found_by, number, row_in, search, verdict
from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http

SHOWN = {"Prefer": "return=representation"}
WITH_RULES = {"MSCRM.SuppressDuplicateDetection": "false"}  # otherwise the API passes the duplicate rules by
ONLY_UPDATE = {"If-Match": "*"}
_ODATA = {"Accept": "application/json", "OData-Version": "4.0", "OData-MaxVersion": "4.0"}


class Api:
    """address: of the clinic's environment."""

    def __init__(self, http: Http, address: str) -> None:
        self._http, self.address = http, address.rstrip("/")
        self.root = self.address + API

    def write(
        self, path: str, body: Mapping[str, Any], key: str, headers: Mapping[str, str] | None = None
    ) -> str | DeliveryError:
        """Upsert a row: its number, the column of this name, or why it has none."""
        return key_in(self.call("PATCH", path, dict(body), SHOWN | dict(headers or {})), key, body.values())

    def ask(self, path: str, params: Mapping[str, str] | None = None, **more: Any) -> Row:
        """A look-up that must succeed. Raises what Dynamics says went wrong."""
        answer = self.call("GET", path, params=params, **more)
        if answer.status != 200:
            raise verdict(answer)
        return row_in(answer)

    def alike(self, email: str) -> tuple[list[Row], list[Row]]:
        """Contacts and leads with this e-mail."""
        body, headers = search(email)
        answer = self._http.request("POST", f"{self.root}/$batch", data=body, headers=_ODATA | headers, reads=True)
        if answer.status != 200:
            raise verdict(answer)
        return found_by(answer)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """One request, signed by `http`. more: as it takes it."""
        url, all_headers = f"{self.root}/{path}", {**_ODATA, **(headers or {})}
        return self._http.request(method, url, json=body, headers=all_headers, **more)


def key_in(answer: Answer, key: str, sent: Iterable[object]) -> str | DeliveryError:
    """The number of what was written. A yes without it is none. sent: the values of it."""
    if answer.status not in (200, 201) or code_of(answer):
        return verdict(answer, sent)
    written = number(row_in(answer).get(key))
    return written or answer.nameless("Dynamics")
