"""Any receiver of signed webhooks (standardwebhooks.com): Zapier, Make, n8n, or the clinic's own program."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

from marshmallow import ValidationError, fields

from integrations.core import options
from integrations.core.base import Connector, Draft, Finding, Item, Options, Pushed, Result, Seen, Tier
from integrations.core.errors import Misconfigured, Refused
from integrations.core.http import Http, by_its_word

_PREFIX = "whsec_"


def _is_secret(value: str) -> None:
    try:
        length = len(base64.b64decode(value.removeprefix(_PREFIX), validate=True))
    except binascii.Error:
        length = 0
    if not 24 <= length <= 64:
        raise ValidationError("must be whsec_ and 24 to 64 bytes in base64, as the receiver shows it")


class WebhookOptions(Options):
    url = fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        metadata={
            "label": "Address",
            "help": "Where each enquiry is posted. It may be a secret in itself.",
            "secret": True,
        },
    )
    secret = options.secret(
        "Signing secret", "whsec_…, the same as at the receiver.", required=True, validate=_is_secret
    )
    previous_secret = options.secret(
        "Previous signing secret", "Signs beside the new one, until the receiver has that.", validate=_is_secret
    )
    drops_repeats = fields.Boolean(
        load_default=False,
        metadata={
            "label": "The receiver drops repeats",
            "help": "It ignores a webhook-id that it has seen, as standardwebhooks.com asks. Most automation services "
            "do not; then an enquiry whose try broke off is shown to you instead of being sent twice.",
        },
    )


class Webhook(Connector):
    """One signed POST per event. Some receivers drop a message whose header `webhook-id` they have seen."""

    kind: ClassVar[str] = "webhook"
    label: ClassVar[str] = "Signed webhook"
    tier: Tier = "C"
    options = WebhookOptions
    readable = False
    fields: ClassVar[Mapping[str, str]] = {
        name: name for name in ("first_name", "last_name", "email", "phone", "reference")
    }

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        super().__init__(settings, http)
        self.tier = "A" if settings.get("drops_repeats") else "C"

    def check(self) -> list[Finding]:
        """There is nothing to read at a webhook, so a signed test message is posted. Raises a DeliveryError for what
        passes by itself."""
        try:
            self._post(f"test_{uuid4()}", "frontdesk.test", {})
        except (Misconfigured, Refused) as error:
            return [Finding(False, f"The receiver did not take a test message: {error.sentence}")]
        return [Finding(True, "The receiver took a signed test message.")]

    def push(self, batch: Sequence[Item]) -> list[Result]:
        """`batch_size` is one: a webhook tells of one event."""
        for item in batch:
            self._post(_message_id(item), item.kind, _data(item))
        return [Pushed(item.lead_id) for item in batch]

    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """A webhook cannot be asked."""
        return [None for _ in items]

    def erase(self, remote_ids: Sequence[str]) -> None:
        """Tell the receiver which leads to forget."""
        for remote_id in remote_ids:
            # Never a repeat: it does no harm twice, and more of the lead may have arrived since the last one.
            self._post(f"erase_{uuid4()}", "lead.erased", {"lead": {"id": remote_id}})

    def draft(self, item: Item) -> list[Draft]:
        """The address may be a secret in itself, so only its host is named."""
        parts = urlsplit(self.settings["url"])
        url = f"{parts.scheme}://{parts.netloc}/{{path}}"
        return [Draft("POST", url, {"type": item.kind, "timestamp": "{now}", "data": _data(item)})]

    def _post(self, message_id: str, kind: str, data: Mapping[str, Any]) -> None:
        timestamp = int(time.time())
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))
        body = json.dumps({"type": kind, "timestamp": moment, "data": data}, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(sign(one, message_id, timestamp, body) for one in self._secrets()),
        }
        answer = self.http.request("POST", self.settings["url"], data=body, headers=headers)
        if answer.status == 410:
            raise Misconfigured("gone", "The receiver says that this address is no longer in use.", status=410)
        if error := by_its_word(answer):
            raise error

    def _secrets(self) -> list[str]:
        """A receiver is content with a signature by either."""
        both = (self.settings["secret"], self.settings.get("previous_secret"))
        return [one for one in both if one]


def _message_id(item: Item) -> str:
    """Of all tries of one message. What the receiver took already is another one when it is sent again all the same:
    staff want it there once more, or it is told of another lead."""
    if item.taken_at is None:
        return item.event_id
    return f"{item.event_id}_{item.taken_at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"


def _data(item: Item) -> dict[str, Any]:
    event = {"id": item.event_id, "occurred_at": item.instant(), "title": item.title, **item.activity}
    return {"lead": {"id": item.lead_id, **item.record}, "event": event}


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """A signature for the `webhook-signature` header of the Standard Webhooks specification. timestamp: seconds since
    1970."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
