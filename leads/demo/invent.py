"""Invented enquiries as rows: a lead with its event, and all that became of that at each of its site's connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from leads.store.codes import CODES, code_of
from leads.store.holds import HOLD_SENTENCES
from leads.store.models import Attempt, Base, Delivery, Event, Identity, Lead, RemoteRecord
from leads.store.vault import Vault

SLICE = 2000  # leads that are made, and written, together
_FIRST = ("Maria", "James", "Olivia", "Noah", "Emma", "Liam", "Ava", "Ethan", "Mia", "Lucas", "Zoë", "Mateo", "Amir")
_LAST = ("Example", "Sample", "Invented", "Madeup", "Specimen", "Fictional", "Placeholder", "Nobody", "Testman")
_WISHES = ("weekday mornings", "weekday evenings", "Saturday", "any time")
_SERVICES = ("Dental implants", "Check-up", "Whitening", "Orthodontics")
_MESSAGE = "I would like to know whether this is possible for me, and what it would cost. This enquiry is invented."
# Of the newest: how many, and where they stand. The others are confirmed.
_NEWEST = (
    (20, "waiting", None, None),
    (20, "sent", None, None),
    (10, "refused", "rejected", "The CRM did not take it."),
    (10, "refused", "unknown_outcome", "Nobody knows whether the CRM took it."),
    (10, "expired", "expired", "It was tried for too long."),
    (20, "held", "spam", HOLD_SENTENCES["spam"]),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_MILLISECOND, _LOW_BITS = timedelta(milliseconds=1), (1 << 62) - 1
# By table, in the order in which they may be written: what is referred to comes first. Each row of one names the same.
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be there in the end. leads: in all. until: when the newest came. sites: id → its connections' ids."""

    leads: int
    days: float
    seed: int
    until: datetime
    sweep_days: int
    sites: tuple[tuple[UUID, tuple[UUID, ...]], ...]

    def received(self, number: int) -> datetime:
        """When this lead came: evenly over the days."""
        return self.until - timedelta(days=self.days) * ((self.leads - number) / self.leads)


class Maker:
    """Makes rows as both databases take them: ids as hex digits, times as text in UTC."""

    def __init__(self, vault: Vault, plan: Plan) -> None:
        self._vault, self._plan = vault, plan
        self._sites = [(site.hex, [one.hex for one in connections]) for site, connections in plan.sites]
        self._swept_from = plan.until.replace(tzinfo=None) - timedelta(days=plan.sweep_days)
        self._random = Random()  # noqa: S311 - invented data
        self._rows: Rows = {}

    def rows(self, first: int) -> Rows:
        """Of one slice."""
        self._random = Random(f"{self._plan.seed} {first}")  # noqa: S311 - invented data
        self._rows = {}
        for number in range(first, min(first + SLICE, self._plan.leads)):
            self._lead(number)
        return self._rows

    def _add(self, table: type[Base], **row: Any) -> None:
        self._rows.setdefault(table.__tablename__, []).append(row)

    def _id(self, at: datetime) -> str:
        """Sorts by its time, as RFC 9562 has it."""
        milliseconds = (at - _EPOCH) // _MILLISECOND
        bits = self._random.getrandbits(74)
        return f"{milliseconds:012x}7{bits >> 62:03x}{bits & _LOW_BITS | 2 << 62:016x}"

    def _lead(self, number: int) -> None:
        plan, vault, at = self._plan, self._vault, self._plan.received(number).replace(tzinfo=None)
        site_id, connections = self._sites[number % len(self._sites)]
        lead_id, text_at = self._id(at), _text(at)
        is_caller = number % 12 == 11  # tapped on "Call us", and nobody knows who it was
        person = {} if is_caller else self._person(number)
        site = plan.sites[number % len(plan.sites)][0]
        visitor = {"visitor": f"visitor-{plan.seed}-{number}"} if is_caller or number % 3 == 0 else {}
        digests = [
            (vault.digest(kind, site, text), kind)
            for kind, text in (visitor | person).items()
            if kind in ("visitor", "email", "phone")
        ]
        state, code, sentence = self._standing(number)
        self._add(
            Lead,
            id=lead_id,
            site_id=site_id,
            code=_code(number),
            person_sealed=vault.seal(person, "lead", "person", _hyphenated(lead_id)),
            known=not is_caller,
            shareable=not is_caller and code != "spam",
            is_test=False,
            created_at=text_at,
            last_event_at=text_at,
        )
        for digest, kind in digests:
            self._add(Identity, digest=digest, lead_id=lead_id, kind=kind, seen_at=text_at)
        event_id = self._event(number, site, lead_id, person, at, code)
        for connection_id in connections:
            self._delivery(number, event_id, connection_id, lead_id, at, (state, code, sentence))

    def _person(self, number: int) -> dict[str, str]:
        first, last = self._random.choice(_FIRST), self._random.choice(_LAST)
        phone = f"+1{201 + number // 100 % 700}55501{number % 100:02d}"
        return {
            "first_name": first,
            "last_name": f"{last}-{number}",
            "email": f"{first.lower()}.{self._plan.seed}.{number}@example.com",
            "phone": phone,
            "phone_typed": phone[2:],
        }

    def _standing(self, number: int) -> tuple[str, str | None, str | None]:
        left = self._plan.leads - 1 - number
        for how_many, state, code, sentence in _NEWEST:
            if left < how_many:
                return state, code, sentence
            left -= how_many
        return "confirmed", None, None

    def _event(
        self, number: int, site_id: UUID, lead_id: str, person: Mapping[str, str], at: datetime, code: str | None
    ) -> str:
        vault, event_id = self._vault, self._id(at)
        kind = "consultation_request" if person else "call_click"
        answers: dict[str, Any] = {"page": "https://clinic.example/implants"}
        if person:
            wishes = {"preferred_time": _WISHES[number % 4], "service": _SERVICES[number % 4], "message": _MESSAGE}
            answers |= {**person, **wishes}
        kept = {**answers, "suspicion": "invented"} if code == "spam" else answers
        consent = True if person else None
        self._add(
            Event,
            id=event_id,
            site_id=site_id.hex,
            lead_id=lead_id,
            kind=kind,
            client_digest=vault.digest("client", site_id, f"{kind}:demo-{self._plan.seed}-{number}"),
            body_digest=vault.digest("body", kind, sorted(answers.items()), consent),
            answers_sealed=vault.seal(kept, "event", "answers", _hyphenated(event_id)),
            source="website",
            consent_given=consent,
            consent_version="1" if person else None,
            hold_code="spam" if code == "spam" else None,
            is_test=False,
            received_at=_text(at),
        )
        return event_id

    def _delivery(
        self,
        number: int,
        event_id: str,
        connection_id: str,
        lead_id: str,
        at: datetime,
        standing: tuple[str, str | None, str | None],
    ) -> None:
        state, code, sentence = standing
        delivery_id, sent, seen = self._id(at), at + timedelta(seconds=1), at + timedelta(seconds=7)
        text_at, arrived = _text(at), state in ("sent", "confirmed")
        tried = [] if state in ("waiting", "held") else [(sent, 180, "sent" if arrived else "Refused")]
        tried += [(seen, 90, "confirmed")] if state == "confirmed" else []
        remote_id = f"demo-{number}" if arrived else None
        self._add(
            Delivery,
            id=delivery_id,
            event_id=event_id,
            connection_id=connection_id,
            lead_id=lead_id,
            state=state,
            due_at=text_at,
            attempts=1 if tried else 0,
            unknown=code == "unknown_outcome",
            missing=0,
            code=code,
            sentence=sentence,
            remote_id=remote_id,
            created_at=text_at,
            tries_from=text_at,
            sent_at=_text(sent) if arrived else None,
            check_at=self._check_at(number, state, at),
            confirmed_at=_text(seen) if state == "confirmed" else None,
        )
        for when, took, verdict in tried:
            tries = {"started_at": _text(when), "milliseconds": took, "verdict": verdict}
            self._add(Attempt, id=self._id(when), delivery_id=delivery_id, **tries)
        if remote_id:
            record = {"lead_id": lead_id, "connection_id": connection_id}
            self._add(RemoteRecord, **record, remote_id=remote_id, retire=False)

    def _check_at(self, number: int, state: str, at: datetime) -> str | None:
        """Of what is sent, soon; what is confirmed is looked at each night for some weeks, next in the coming one."""
        if state == "sent":
            return _text(self._plan.until + timedelta(hours=1))
        if state == "confirmed" and at > self._swept_from:
            return _text(self._plan.until + timedelta(hours=1, seconds=number % 80_000))
        return None


def _text(at: datetime) -> str:
    return at.isoformat(" ", "microseconds")[:26]  # without the zone: it is UTC


def _hyphenated(digits: str) -> str:
    """An id as it is bound into what is sealed."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _code(number: int) -> str:
    """A code of its own for each number: the factor has no divisor in common with how many codes there are."""
    return code_of((number * 387_420_489 + 271_828_183) % CODES)
