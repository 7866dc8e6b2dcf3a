"""Every call of a push breaks in every way that a network knows, against a real server: never is it called a success.

Then the CRM recovers, and what is pushed again as the outbox would is there once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integrations.core.base import Connector, Item, Pushed, Result
from integrations.core.errors import TryLater, Unknown
from integrations.core.http import LARGEST_ANSWER
from integrations.core.oauth import Token
from leads.sync import calls
from tests.contract.connection import build
from tests.contract.people import CANARIES, item
from tests.pretend import pretend_crms
from tests.pretend.server import PretendCrm, Reply, Request

DEADLINE, LATE, PATIENT = 0.6, 0.8, 60.0  # seconds
KINDS = pretend_crms()
Answer = tuple[Reply | None, float]
Wrong = Callable[[Callable[[], Answer]], Answer]  # what an honest CRM would do → what comes of it


def _cut_before(honest: Callable[[], Answer]) -> Answer:
    return None, 0


def _cut_after(honest: Callable[[], Answer]) -> Answer:
    honest()
    return None, 0


def _late(honest: Callable[[], Answer]) -> Answer:
    return honest()[0], LATE


def _drips(honest: Callable[[], Answer]) -> Answer:
    honest()
    return Reply(200, b"{" + b" " * 40 + b"}", drip=LATE / 40), 0


def _garbage(honest: Callable[[], Answer]) -> Answer:
    honest()
    return Reply(200, b"<html>Please sign in to the guest network", {"Content-Type": "text/html"}), 0


def _endless(honest: Callable[[], Answer]) -> Answer:
    honest()
    return Reply(200, b" " * (LARGEST_ANSWER + 1)), 0


WRONGS = {
    "cut_before": _cut_before,
    "cut_after": _cut_after,
    "late": _late,
    "drips": _drips,
    "garbage": _garbage,
    "endless": _endless,
}


class Wire:
    """Stands between a pretend CRM and its socket: one call of all goes wrong. at: which, counted from 0."""

    def __init__(self, crm: PretendCrm, at: int, wrong: Wrong) -> None:
        self.honest, self.left, self.wrong, self.hit = crm.reply, at, wrong, ""

    def reply(self, request: Request) -> Answer:
        self.left -= 1
        if self.left != -1:
            return self.honest(request)
        self.hit = f"{request.method} {request.path}"
        return self.wrong(lambda: self.honest(request))


@contextmanager
def _broken(kind: str, at: int, wrong: Wrong) -> Iterator[tuple[PretendCrm, Wire, Connector]]:
    with KINDS[kind]() as crm:
        token = Token.load(crm.token) if crm.token else None
        hosts = frozenset({"127.0.0.1"})
        deadline = DEADLINE if wrong in (_late, _drips) else PATIENT
        connector = build(kind, crm.settings(), token, allowed_private_hosts=hosts, deadline=deadline)
        connector.prepare()
        wire = Wire(crm, at, wrong)
        crm.reply = wire.reply  # type: ignore[method-assign]  # that is the wire
        yield crm, wire, connector
        assert crm.bugs == []


@pytest.mark.parametrize("name", WRONGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_call_is_never_a_success(kind: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """One call after the other, until a push needs no more of them."""
    caplog.set_level(logging.DEBUG)
    for at in range(30):
        with _broken(kind, at, WRONGS[name]) as (crm, wire, connector):
            ann = item("ann", type(connector))
            (first,) = calls.push(connector, [ann], ())
            if not wire.hit:
                assert at > 0, "nothing was broken"
                if name not in ("late", "drips"):  # there a busy machine is late itself
                    assert isinstance(first, Pushed)
                return
            if not _may_be_survived(wire.hit, name, connector):
                assert isinstance(first, TryLater | Unknown), f"{wire.hit} came back as {first!r}"
            _assert_silent(repr(first) + str(first) + caplog.text)
            if connector.tier != "C":
                _push_again(connector, ann, first)
                assert [list(person.events) for person in crm.people()] == [[ann.event_id]], wire.hit
    raise AssertionError("a push of one person needs more than thirty calls")


def _may_be_survived(hit: str, name: str, connector: Connector) -> bool:
    """What was only read may be had in another way; and a receiver of webhooks may say yes in any words."""
    return hit.startswith("GET ") or (not connector.readable and name == "garbage")


def _push_again(connector: Connector, ann: Item, result: Result | Exception) -> None:
    """As the outbox does: what may have been written is looked up first."""
    doubtful: set[str] = set()
    for _ in range(5):
        if isinstance(result, Pushed):
            return
        doubtful |= {ann.event_id} if isinstance(result, Unknown) else set()
        (result,) = calls.push(connector, [ann], doubtful)
    raise AssertionError(f"the CRM works, and still {result!r}")


def _assert_silent(said: str) -> None:
    for canary in CANARIES:
        assert canary not in said, "personal data in what the connector says"
