"""What CRMs do: each behaviour has a name, a script, and how it must end for the enquiries."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import requests
from urllib3.exceptions import MaxRetryError, NameResolutionError

from tests.chaos.strange_crm import Call, Reply, Script

LOGIN_PAGE = b"<!doctype html><title>Sign in</title><form><input name=user><input name=password></form>"
CONFIRMED, PERSON = frozenset({"confirmed"}), frozenset({"confirmed", "refused"})
ALWAYS = float("inf")
DAY = 86400.0
UNSAID = 30.0  # seconds of quiet when a CRM throttles and does not say for how long


@dataclass(frozen=True, slots=True)
class Behaviour:
    """calls: in how many calls it misbehaves, at least and at most. ends: the states in which enquiries may end.
    poison: likewise for the one person it dislikes; None when it treats all alike. free: no attempt is spent by it.
    on_socket: played byte by byte. in_order: events of one person must arrive in their order. drops_repeats: said of
    a webhook; without it nothing doubtful is sent twice, a person is asked. options: the connection's. unique: the
    CRM has unique keys; without them tier B looks before it sends again."""

    name: str
    script: Script
    calls: tuple[float, float] = (1, 5)
    ends: frozenset[str] = CONFIRMED
    poison: frozenset[str] | None = None
    free: bool = False
    kind: str = "sandbox"
    on_socket: bool = False
    in_order: bool = True
    drops_repeats: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    unique: bool = True


def answers(status: int, body: bytes = b"{}", quiet: float | None = None, **headers: str) -> Script:
    """Nothing is kept."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(status, body, named, quiet=quiet)


def throttles(said: str | None, quiet: float, status: int = 429) -> Script:
    """said: the Retry-After header. quiet: seconds without a call that must follow."""
    return answers(status, quiet=quiet, **({} if said is None else {"Retry_After": said}))


def throttles_until(seconds: float, quiet: float, status: int = 429) -> Script:
    def script(call: Call) -> Reply:
        moment = format_datetime(call.crm.clock() + timedelta(seconds=seconds), usegmt=True)
        return Reply(status, headers={"Retry-After": moment}, quiet=quiet)

    return script


def fails(error: Callable[[], Exception]) -> Script:
    """The network fails before anything has left us."""
    return lambda _: Reply(error=error())


def after_the_work(reply: Reply) -> Script:
    """Do what was asked, then answer like this."""

    def script(call: Call) -> Reply:
        call.honest()
        return reply

    return script


def mends(change: Callable[[Any], Any], *whats: str) -> Script:
    """Do what was asked and answer as one should, but for this change of the answer."""

    def script(call: Call) -> Reply | None:
        if call.what not in whats:
            return None
        honest = call.honest()
        return honest.saying(change(honest.json()))

    return script


def only(script: Script, *whats: str) -> Script:
    """In calls of these kinds alone."""
    return lambda call: script(call) if call.what in whats else None


def sometimes(script: Script, share: float = 0.5) -> Script:
    return lambda call: script(call) if call.crm.dice.random() < share else None


def one_of(*scripts: Script) -> Script:
    """Another one in each call."""
    return lambda call: call.crm.dice.choice(scripts)(call)


def varies(*scripts: Script) -> Script:
    """One of these for a whole run: another seed, another one."""

    def script(call: Call) -> Reply | None:
        kind: int = call.crm.memory.setdefault("kind", call.crm.dice.randrange(len(scripts)))
        return scripts[kind](call)

    return script


def statuses(*numbers: int, works: bool = False) -> Script:
    """One of these statuses for a whole run. works: what was asked is done first."""
    return varies(*(after_the_work(Reply(number)) if works else answers(number) for number in numbers))


def in_turn(*scripts: Script) -> Script:
    """One after the other, over and over."""

    def script(call: Call) -> Reply | None:
        turn = call.crm.memory["turn"] = call.crm.memory.get("turn", -1) + 1
        return scripts[turn % len(scripts)](call)

    return script


def good(call: Call) -> Reply:
    """One good answer in between, which counts as one of the script's."""
    return call.honest()


def with_poison(script: Script) -> Script:
    """In calls that are about the one person."""
    return lambda call: script(call) if call.names(call.crm.poison) else None


def more_than(records: int, script: Script) -> Script:
    """In calls with more records than these."""
    return lambda call: script(call) if len(call.json().get("inputs", ())) > records else None


def rows(change: Callable[[list[dict[str, Any]]], list[Any]]) -> Callable[[Any], Any]:
    """Change the rows of what was taken."""
    return lambda body: body | {"results": change(body["results"])}


def ids_are(value: Any) -> Callable[[Any], Any]:
    return rows(lambda found: [row | {"id": value} for row in found])


def without_poison(call: Call) -> Reply | None:
    """Take it, and leave the one person out of the answer."""
    if not call.names(call.crm.poison) or call.what != "contacts":
        return None
    theirs = {one["external_id"] for one in call.json()["inputs"] if call.crm.poison in str(one)}
    honest = call.honest()
    body = honest.json()
    return honest.saying(body | {"results": [row for row in body["results"] if row["external_id"] not in theirs]})


def refuses_poison(code: str, **more: Any) -> Script:
    """Take all but the one person, of whom it says this (207)."""

    def script(call: Call) -> Reply | None:
        inputs = call.json().get("inputs", ()) if call.what == "contacts" else ()
        bad = [one for one in inputs if call.crm.poison in str(one)]
        if not bad:
            return None
        error = {"external_id": bad[0]["external_id"], "code": code, "id": None, **more}
        rest = Call(call.crm, call.what, call.path, _inputs([one for one in inputs if one not in bad]), call.headers)
        body = rest.honest().json() if len(inputs) > 1 else {"results": [], "errors": []}
        return Reply(207).saying(body | {"errors": [*body["errors"], error]})

    return script


def _inputs(inputs: list[Any]) -> bytes:
    return json.dumps({"inputs": inputs}).encode()


def too_late(*seconds: float) -> Script:
    """No answer in time; what was asked is done later."""

    def script(call: Call) -> Reply:
        call.later(call.crm.dice.uniform(*seconds))
        return Reply(error=requests.ReadTimeout())

    return script


def lags(*seconds: float) -> Script:
    """The search knows only what is older than some seconds."""

    def script(call: Call) -> Reply | None:
        if call.what != "search":
            return None
        return _known(call, timedelta(seconds=call.crm.memory.setdefault("lag", call.crm.dice.uniform(*seconds))))

    return script


def _known(call: Call, lag: timedelta) -> Reply:
    known = {event for event, at in call.crm.arrived.items() if at + lag <= call.crm.clock()}
    honest = call.honest()
    found = [
        contact | {"activities": [one for one in contact["activities"] if one["external_id"] in known]}
        for contact in honest.json()["contacts"]
    ]
    return honest.saying({"contacts": found})


def wants_no_cookies(call: Call) -> Reply:
    """Set a cookie in each answer; refuse a call that brings one."""
    if "Cookie" in call.headers:
        return Reply(400)
    honest = call.honest()
    return Reply(honest.status, honest.body, {**honest.headers, "Set-Cookie": "session=stuck; Path=/"})


def bytes_of(*pieces: bytes, pause: float = 0, works: bool = True) -> Script:
    """Exactly these bytes. works: what was asked is done first."""

    def script(call: Call) -> Reply:
        if works:
            call.honest()
        return Reply(raw=pieces, pause=pause)

    return script


def half_of_it(call: Call) -> Reply:
    """The true answer, cut off in the middle."""
    body = call.honest().body
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return Reply(raw=[head + body[: len(body) // 2]])


def promises_less(call: Call) -> Reply:
    """The true answer, with a Content-Length that is too small."""
    body = call.honest().body
    return Reply(raw=[f"HTTP/1.1 200 OK\r\nContent-Length: {len(body) - 7}\r\n\r\n".encode() + body])


def says_gzip(call: Call) -> Reply:
    """The true answer, called compressed though it is not."""
    honest = call.honest()
    return Reply(200, honest.body, {"Content-Encoding": "gzip"})


def _drip(start: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield b"x"


def drips(start: bytes) -> Script:
    """A byte now and then, for ever: the deadline must end it, not the time between two bytes."""

    def script(call: Call) -> Reply:
        call.honest()
        return Reply(raw=_drip(start), pause=0.05)

    return script


def _bomb() -> bytes:
    packed = gzip.compress(bytes(30 * 1024 * 1024))
    return f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed


def _dns() -> Exception:
    reason = NameResolutionError("crm.test", None, OSError())  # type: ignore[arg-type]  # the connection is not used
    return requests.ConnectionError(MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


_OK = b"HTTP/1.1 200 OK\r\n"
_WRITES = ("contacts", "activities")
_ELSEWHERE = "https://elsewhere.test/"
_ANYTHING = one_of(
    answers(500),
    answers(503),
    answers(401),
    throttles("7", 7),
    throttles(None, UNSAID),
    good,
    after_the_work(Reply(500)),
    after_the_work(Reply(200, LOGIN_PAGE)),
    after_the_work(Reply(204, b"")),
    after_the_work(Reply(error=requests.ReadTimeout())),
    fails(requests.ConnectTimeout),
    mends(ids_are(None), *_WRITES),
    mends(rows(lambda found: found[1:]), *_WRITES),
    mends(rows(lambda found: found[::-1] * 2), *_WRITES),
    too_late(1, 20),
    only(answers(200, b'{"contacts": []}'), "search"),
)


def _of_statuses() -> Iterator[Behaviour]:
    bad = statuses(400, 402, 406, 409, 412, 415, 422, 423, 428, 431, 451)
    yield Behaviour("says 4xx to everything", bad, ends=PERSON)
    for name, script in (
        ("says 401, then all is well", answers(401)),
        ("says 403, then all is well", answers(403)),
        ("is not there (404, 405, 410), then all is well", statuses(404, 405, 410)),
        ("sends on (3xx)", varies(*(answers(status, Location=_ELSEWHERE) for status in (301, 302, 303, 307, 308)))),
    ):
        yield Behaviour(name, script, free=True)
    for name, numbers in {
        "408 or 425": (408, 425),
        "500 or its like": (500, 501, 507),
        "503": (503,),
        "502 or another gateway's word": (502, 504, 520, 599),
    }.items():
        yield Behaviour(f"says {name}, then all is well", statuses(*numbers))
        yield Behaviour(f"does it and says {name}", statuses(*numbers, works=True))
    yield Behaviour("says 403 with a quota text", answers(403, b'{"code": "REQUEST_LIMIT_EXCEEDED"}'), free=True)
    yield Behaviour("takes batches of two at most (413)", more_than(2, answers(413)), calls=(ALWAYS, ALWAYS))
    yield Behaviour("mixes 5xx", one_of(*(answers(status) for status in (500, 502, 503, 504))), calls=(5, 25))
    yield Behaviour("flaps", in_turn(answers(503), good, good), calls=(5, 25))
    # One enquiry alone may have all the bad luck, and use up its tries.
    unlucky = CONFIRMED | {"expired"}
    yield Behaviour("fails in every second call", sometimes(answers(500)), calls=(5, 25), ends=unlucky)


def _of_quiet() -> Iterator[Behaviour]:
    seconds = varies(*(throttles(said, float(said)) for said in ("120", "1.5", "86399")))
    yield Behaviour("429, Retry-After in seconds", seconds, calls=(1, 4), free=True)
    yield Behaviour("429, Retry-After: 0", throttles("0", 1), free=True)
    too_long = varies(throttles("1000000000", DAY), throttles("100000", DAY))
    yield Behaviour("429, Retry-After of more than a day", too_long, calls=(1, 4), free=True)
    nonsense = ("-5", "soon", "", "99999999999999999999", "1e3", "12 34", "Fri, 99 Mar 2026 25:61:61 GMT")
    yield Behaviour("429, Retry-After: nonsense", varies(*(throttles(said, UNSAID) for said in nonsense)), free=True)
    yield Behaviour("429 without Retry-After", throttles(None, UNSAID), free=True)
    yield Behaviour("429 with a date", throttles_until(90, 90), free=True)
    yield Behaviour("429 with a date that is over", throttles_until(-90, UNSAID), free=True)
    yield Behaviour("429 with a date of next week", throttles_until(7 * DAY, DAY), calls=(1, 3), free=True)
    yield Behaviour("429 twenty times", throttles("3", 3), calls=(20, 20), free=True)
    yield Behaviour("429 for activities only", only(throttles("45", 45), "activities"), free=True)
    yield Behaviour("429 for the search only", only(throttles("45", 45), "search"), free=True)
    yield Behaviour("503, Retry-After: 600", throttles("600", 600, status=503), free=True)
    yield Behaviour("503 with a date", throttles_until(300, 300, status=503), free=True)
    yield Behaviour("429 after 500s", in_turn(answers(500), answers(500), throttles("60", 60)), calls=(6, 18))
    yield Behaviour("429, then 401", in_turn(throttles("60", 60), answers(401)), calls=(2, 8), free=True)


def _of_answers() -> Iterator[Behaviour]:
    bodies = {
        "that is no JSON": (LOGIN_PAGE, b"", b'{"results": [{"id', b"\xff\xfe\x00{"),
        "of another shape": (b"null", b"[]", b"7", b"[" * 100_000, b'{"status": "error", "message": "no"}'),
        "with strange rows": (
            b'{"results": [1, null, "x"], "errors": []}',
            b'{"results": {"id": "1"}, "errors": []}',
            b'{"results": [{}], "errors": [{}]}',
        ),
    }
    for name, kinds in bodies.items():
        yield Behaviour(f"200 {name}, nothing kept", varies(*(answers(200, body) for body in kinds)))
        kept = varies(*(after_the_work(Reply(200, body)) for body in kinds))
        yield Behaviour(f"200 {name}, kept", kept)
    yield Behaviour("201 and nothing, kept", after_the_work(Reply(201, b"")))
    yield Behaviour("202 and nothing, done later", lambda call: call.later(20) or Reply(202, b""), calls=(1, 2))
    yield Behaviour("204, kept", after_the_work(Reply(204, b"")))
    yield Behaviour("204, not kept", answers(204, b""))
    ids: dict[str, tuple[Any, ...]] = {
        "no id": (None, "", "  ", "\n"),
        "a word for an id": ("null", "None"),
        "another kind of id": (0, False, [], {}),
        "an id without end": ("x" * 5000,),
    }
    for name, values in ids.items():
        yield Behaviour(f"200 with {name}", varies(*(mends(ids_are(value), *_WRITES) for value in values)))
    no_id = rows(lambda found: [{name: row[name] for name in row if name != "id"} for row in found])
    yield Behaviour("200 without ids", mends(no_id, *_WRITES))
    yield Behaviour("200 with ids that are numbers", mends(ids_are(4711), "activities"))


def _of_batches() -> Iterator[Behaviour]:
    stranger = {"id": "9" * 16, "external_id": "00000000-0000-0000-0000-000000000000", "new": True}
    yield Behaviour("leaves the first out of its answer", mends(rows(lambda found: found[1:]), *_WRITES))
    yield Behaviour("leaves all out of its answer", mends(rows(lambda _: []), *_WRITES))
    yield Behaviour("answers in another order", mends(rows(lambda found: found[::-1]), *_WRITES), calls=(30, 30))
    yield Behaviour("answers each twice", mends(rows(lambda found: found * 2), *_WRITES), calls=(30, 30))
    yield Behaviour("answers for a stranger too", mends(rows(lambda found: [stranger, *found]), *_WRITES))
    yield Behaviour("answers for a stranger only", mends(rows(lambda _: [stranger]), *_WRITES))
    both = mends(lambda body: body | {"errors": [row | {"code": "x"} for row in body["results"]]}, "contacts")
    yield Behaviour("says yes and no to the same", both, calls=(1, 3), ends=PERSON)
    yield Behaviour("leaves one person out for long", without_poison, calls=(5, 12), poison=CONFIRMED)
    reasons: tuple[tuple[str, dict[str, Any]], ...] = (
        ("invalid_phone", {"field": "phone"}),
        ("strange", {}),
        ("strange", {"field": 7}),
    )
    refuses = varies(*(refuses_poison(code, **more) for code, more in reasons))
    yield Behaviour("refuses one person", refuses, calls=(ALWAYS, ALWAYS), poison=PERSON)
    nameless = varies(*(refuses_poison(code) for code in ("duplicate", "contact_not_found", "not_found")))
    yield Behaviour("says why not of one person, without an id", nameless, calls=(1, 6), poison=PERSON)
    refused = with_poison(answers(400))
    yield Behaviour("refuses a batch with one person in it", refused, calls=(ALWAYS, ALWAYS), poison=PERSON)
    yield Behaviour("fails at one person (500)", with_poison(answers(500)), calls=(5, 12))  # a week has 15 tries


def _of_lost_answers() -> Iterator[Behaviour]:
    timeout = Reply(error=requests.ReadTimeout())
    yield Behaviour("does it, and its answer is lost", after_the_work(timeout))
    yield Behaviour("does half of it, and its answer is lost", only(after_the_work(timeout), "activities"))
    yield Behaviour("does nothing and never answers", fails(requests.ReadTimeout))
    yield Behaviour("does it seconds after our time-out", too_late(1, 4), calls=(1, 6))
    yield Behaviour("does it minutes after our time-out", too_late(60, 600), calls=(1, 6), in_order=False)
    forget = lambda call: call.forget() if call.what in _WRITES else None  # noqa: E731 - it reads as a row of the table
    yield Behaviour("accepts and forgets, for a while", forget, calls=(2, 4), in_order=False, ends=PERSON)
    yield Behaviour("accepts and forgets, always", forget, calls=(ALWAYS, ALWAYS), ends=frozenset({"refused"}))
    always = (ALWAYS, ALWAYS)
    yield Behaviour("has a slow index", lags(2, 25), calls=always, in_order=False)
    yield Behaviour("has a slow index and says so", lags(30, 55), calls=always, options={"settle": "60"}, free=True)
    yield Behaviour("has a slower index than it says", lags(35, 90), calls=always, ends=PERSON, in_order=False)
    empty = only(answers(200, b'{"contacts": []}'), "search")
    yield Behaviour("finds nothing for a while", empty, calls=(1, 2), in_order=False)
    yield Behaviour("cannot search (500)", only(answers(500), "search"), calls=(1, 25))
    yield Behaviour("cannot search (a page)", only(answers(200, LOGIN_PAGE), "search"))
    yield Behaviour("cannot search (401)", only(answers(401), "search"))
    nameless = lambda body: {"contacts": [one | {"id": None} for one in body["contacts"]]}  # noqa: E731
    yield Behaviour("finds records without ids", mends(nameless, "search"))
    lost_then_blind = in_turn(after_the_work(timeout), only(answers(500), "search"))
    yield Behaviour("loses its answer, then cannot search", lost_then_blind, calls=(2, 12))
    yield Behaviour("does anything at all", _ANYTHING, calls=(10, 30), ends=PERSON, in_order=False)


def _of_tier_b() -> Iterator[Behaviour]:
    """Without unique keys: nothing may stand there twice as long as the CRM is no later than it says."""
    for name, script in (
        ("does it, and its answer is lost", only(after_the_work(Reply(error=requests.ReadTimeout())), *_WRITES)),
        ("does it and says 502", only(after_the_work(Reply(502)), *_WRITES)),
        ("does it and names no id", mends(ids_are(None), *_WRITES)),
        ("does it seconds after our time-out", only(too_late(1, 50), *_WRITES)),
        ("does nothing and says 500", answers(500)),
        ("cannot search (500)", only(answers(500), "search")),
    ):
        settled = {"tier": "B", "settle": "60"}
        yield Behaviour(f"tier B: {name}", script, calls=(1, 6), in_order=False, options=settled, unique=False)


def _of_the_network() -> Iterator[Behaviour]:
    yield Behaviour("cannot be connected to", fails(requests.ConnectionError))
    yield Behaviour("does not answer the connection", fails(requests.ConnectTimeout))
    yield Behaviour("has a bad certificate", fails(requests.exceptions.SSLError))
    yield Behaviour("has no name in the DNS", fails(_dns))
    yield Behaviour("sets cookies", wants_no_cookies, calls=(30, 30))
    chunked = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
    bytes_sent: dict[str, tuple[tuple[bytes, ...], ...]] = {
        "hangs up before its answer": ((), (b"HTTP/1.1 20",), (_OK + b"Content-Le",)),
        "speaks something else": (
            (b"SSH-2.0-OpenSSH_9.2\r\n",),
            (b"HTTP/1.1 abc OK\r\n\r\n",),
            (_OK + b"Content-Length: many\r\n\r\n{}",),
        ),
        "sends chunks that are none": ((chunked + b"zz\r\n{}\r\n",), (chunked + b'2\r\n{"\r\n',)),
        "sends headers without end": (
            (_OK, *([b"X-More: more\r\n"] * 500)),
            (_OK + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",),
        ),
        "sends more than 1 MiB": ((_OK + b"Content-Length: 1500000\r\n\r\n" + b" " * 1_500_000,),),
        "sends a bomb of gzip": ((_bomb(),),),
    }
    for name, kinds in bytes_sent.items():
        sent = varies(*(bytes_of(*pieces) for pieces in kinds))
        yield Behaviour(name, sent, calls=(1, 6), on_socket=True)
    for name, script in (
        ("breaks off in the middle of the answer", half_of_it),
        ("promises less than it sends", promises_less),
        ("calls compressed what is not", says_gzip),
        ("breaks off in every second call", sometimes(half_of_it)),
    ):
        yield Behaviour(name, script, calls=(1, 8), on_socket=True)
    yield Behaviour("drips its headers", drips(_OK + b"X-Drip: "), calls=(1, 2), on_socket=True)
    yield Behaviour("drips its answer", drips(_OK + b"Content-Length: 9999\r\n\r\n"), calls=(1, 2), on_socket=True)
    yield Behaviour("is well, on a socket", good, on_socket=True)


def _of_webhooks() -> Iterator[Behaviour]:
    sent, sent_or_refused = frozenset({"sent"}), frozenset({"sent", "refused"})
    timeout = Reply(error=requests.ReadTimeout())
    for name, script, ends, free in (
        ("webhook: all is well", good, sent, True),
        ("webhook: says 500", answers(500), sent, False),
        ("webhook: says 410", answers(410), sent, True),
        ("webhook: says 400", answers(400), sent_or_refused, False),
        ("webhook: does it, and its answer is lost", after_the_work(timeout), sent, False),
        ("webhook: does it and says 502", after_the_work(Reply(502)), sent, False),
        ("webhook: 503, Retry-After: 90", throttles("90", 90, status=503), sent, True),
        ("webhook: 503 with a date", throttles_until(90, 90, status=503), sent, True),
        ("webhook: 429 without Retry-After", throttles(None, UNSAID), sent, True),
    ):
        yield Behaviour(name, script, calls=(1, 6), ends=ends, free=free, kind="webhook")


BEHAVIOURS = [
    Behaviour("is well", good, free=True),
    *_of_statuses(),
    *_of_quiet(),
    *_of_answers(),
    *_of_batches(),
    *_of_lost_answers(),
    *_of_tier_b(),
    *_of_the_network(),
    *_of_webhooks(),
]
