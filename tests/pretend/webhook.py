"""A receiver of signed webhooks: one that drops a `webhook-id` it has seen, or one that does not look at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.pretend.server import Fault, Person, PretendCrm, Reply, Request

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
_PATH = "/hooks/frontdesk"


class PretendWebhook(PretendCrm):
    """Keeps each message that it takes under the lead that it tells of, a repeated one twice until `remedy`."""

    kind = "webhook"

    def __init__(self, seed: int = 1, late: float = 1.5) -> None:
        super().__init__(seed, late)
        self.drops_repeats = False
        self.seen: set[str] = set()
        self.leads: dict[str, dict[str, Any]] = {}

    def settings(self) -> dict[str, Any]:
        return {"url": self.url + _PATH, "secret": SECRET}

    def remedy(self) -> dict[str, Any]:
        self.drops_repeats = True
        return {"drops_repeats": True}

    def answer(self, request: Request) -> Reply:
        if (request.method, request.path) != ("POST", _PATH):
            return Reply(404, b"no such hook")
        try:
            message = Verifier(SECRET).verify(request.raw, {k.lower(): v for k, v in request.headers.items()})
        except WebhookVerificationError:
            return Reply(401, b"the signature is wrong")
        message_id = request.headers["webhook-id"]
        if message_id not in self.seen or not self.drops_repeats:
            self.seen.add(message_id)
            self._take(message)
        return Reply(204)

    def _take(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "frontdesk.test":
            return
        lead = message["data"]["lead"]
        if message["type"] == "lead.erased":
            self.leads.pop(lead["id"], None)
            return
        held = self.leads.setdefault(lead["id"], {"events": []})
        held["email"] = held.get("email") or lead.get("email", "")
        held["events"].append(message["data"]["event"]["id"])

    def people(self) -> list[Person]:
        return [Person(lead_id, lead_id, one["email"], one["events"]) for lead_id, one in self.leads.items()]

    def faults(self) -> list[Fault]:
        return [
            lambda: Reply(429, b"slow down", {"Retry-After": "1"}),
            lambda: Reply(503, b"restarting", {"Retry-After": "1"}),
            lambda: Reply(500, b"oops"),
        ]
