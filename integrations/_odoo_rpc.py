"""Calling methods of Odoo's models: by JSON-2, which Odoo has since version 19, or by the older JSON-RPC.

Sources: odoo.com/documentation/19.0, External JSON-2 API and External RPC API.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from integrations.core.base import Draft
from integrations.core.errors import DeliveryError, Misconfigured, Refused, TryLater
from integrations.core.http import Answer, Http, by_status, raise_for_status
from integrations.core.reading import as_object, repeats

ENGLISH = {"lang": "en_US"}  # for its words, which are translated else
ARCHIVED_TOO = {**ENGLISH, "active_test": False}
SERVER_ERROR = "server_error"
_LOST_RACES = ("could not serialize", "deadlock detected", "could not obtain lock", "transaction is aborted")
_ABOUT_ONE_RECORD = ("UserError", "ValidationError", "MissingError", "UnprocessableEntity")  # may quote a visitor
NO_CRM = Misconfigured("no_crm", "Odoo has no leads: install its app CRM.")
BUSY = TryLater("busy", "Another program was writing in Odoo at the same moment.")
_BAD_KEY = Misconfigured("bad_key", "Odoo does not accept the key. It may have run out: make a new one and enter it.")
_NO_SUCH_DATABASE = Misconfigured("no_such_database", "There is no such database on this Odoo server.")
_NO_ADDRESS = Misconfigured(
    "not_found", "There is no Odoo with this API at the address. Check the address and the name of the database."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What Odoo says went wrong. name: of its exception. message: may quote a patient, so it is only looked at."""

    name: str
    message: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a call, or its fault; None of both when the answer came from something else than Odoo."""

    answer: Answer
    result: Any = field(default=None, repr=False)
    fault: Fault | None = None
    ok: bool = False

    def error(self) -> DeliveryError:
        """What went wrong with a call that is not ok."""
        if self.fault:
            return _verdict(self.fault, self.answer)
        if self.answer.status in (404, 415):  # to Odoo's own JSON-2 our calls are JSON, so it is not that which speaks
            return _NO_ADDRESS
        unreadable = self.answer.unreadable("Odoo")
        return by_status(self.answer) or unreadable


class Rpc:
    """One Odoo, as the user whose key it is."""

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        self.address = str(settings["url"]).rstrip("/")
        self._settings, self._http = settings, http

    def call(self, model: str, method: str, *, reads: bool = False, describes: bool = False, **arguments: Any) -> Any:
        """The result of a method. ids: the records it is called on. Raises what Odoo says went wrong."""
        reply = self.ask(model, method, reads=reads, describes=describes, **arguments)
        if not reply.ok:
            raise reply.error()
        return reply.result

    def ask(self, model: str, method: str, *, reads: bool = False, describes: bool = False, **arguments: Any) -> Reply:
        """The same for who wants to look at the fault."""
        named = {"context": ARCHIVED_TOO if reads else ENGLISH} | arguments
        how: dict[str, Any] = {"reads": reads, "describes": describes}
        if self._by_json2:
            address = self._json2(model, method)
            return _reply2(self._http.request("POST", address, json=named, headers=self._headers(), **how))
        whose = [self._settings.get("database", ""), self._user, self._settings["key"]]
        body = _execute(whose, model, method, named)
        return _reply1(self._http.request("POST", f"{self.address}/jsonrpc", json=body, **how))

    def draft(self, model: str, method: str, **arguments: Any) -> Draft:
        """What `ask` would send, without the key. Where the API is not known yet: as the newer one would have it."""
        named = {"context": ENGLISH} | arguments
        if self._settings.get("api") != "jsonrpc":
            return Draft("POST", self._json2(model, method), named)
        whose = [self._settings.get("database", ""), "{user}", "{key}"]
        return Draft("POST", f"{self.address}/jsonrpc", _execute(whose, model, method, named))

    def _json2(self, model: str, method: str) -> str:
        return f"{self.address}/json/2/{model}/{method}"

    def _headers(self) -> dict[str, str]:
        database = self._settings.get("database")
        named = {"X-Odoo-Database": database} if database else {}
        return {"Authorization": f"bearer {self._settings['key']}", **named}

    @cached_property
    def _by_json2(self) -> bool:
        """By the option, else by the version, which Odoo tells everybody since it has JSON-2."""
        api = self._settings.get("api", "auto")
        if api != "auto":
            return bool(api == "json2")
        answer = self._http.request("GET", f"{self.address}/web/version")
        if answer.status >= 500 or answer.status == 429:
            raise_for_status(answer)
        return answer.status == 200 and _major(answer) >= 19

    @cached_property
    def _user(self) -> int:
        """The number of the user, which the older API wants in each call."""
        database, login = self._settings.get("database"), self._settings.get("login")
        if not database or not login:
            raise Misconfigured("no_login", "Odoo before version 19 needs the database and the user's login as well.")
        args = [database, login, self._settings["key"], {}]
        reply = _reply1(
            self._http.request("POST", f"{self.address}/jsonrpc", json=_rpc("common", "authenticate", args), reads=True)
        )
        if not reply.ok:
            raise reply.error()
        if not isinstance(reply.result, int) or reply.result is False:
            raise _BAD_KEY
        return reply.result


def _rpc(service: str, method: str, args: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "call", "params": {"service": service, "method": method, "args": list(args)}}


def _execute(whose: Sequence[Any], model: str, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: value for name, value in arguments.items() if name != "ids"}
    positional = [arguments["ids"]] if "ids" in arguments else []
    return _rpc("object", "execute_kw", [*whose, model, method, positional, named])


def _reply2(answer: Answer) -> Reply:
    """JSON-2: the bare result, or a status of 400 and more with the exception."""
    if 200 <= answer.status < 300:
        return Reply(answer, answer.json(), ok=True)
    return Reply(answer, fault=_fault(answer.json_or_none()))


def _reply1(answer: Answer) -> Reply:
    """JSON-RPC: status 200 for everything, with `result` or `error` in it."""
    body = as_object(answer.json_or_none())  # may be an HTML page, which Odoo itself and proxies before it send
    if "error" in body:
        return Reply(answer, fault=_fault(as_object(body["error"]).get("data")) or Fault("", ""))
    return Reply(answer, body.get("result"), ok=answer.status == 200 and "result" in body)


def _fault(body: Any) -> Fault | None:
    told = as_object(body)
    name = told.get("name")
    return Fault(name, str(told.get("message"))) if isinstance(name, str) else None


def _major(answer: Answer) -> int:
    """19 of 19.0, and of saas~19.1. Raises `answer.doubt` when the answer is none of Odoo's."""
    info = as_object(answer.json()).get("version_info")
    if not isinstance(info, list) or not info:
        raise answer.unreadable("Odoo")
    digits = str(info[0]).removeprefix("saas~").partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def is_lost_race(text: str, sent: Collection[object] = ()) -> bool:
    """Whether PostgreSQL says that somebody else wrote at the same moment. sent: what may be repeated in it."""
    return any(sign in text and not repeats(sign, sent) for sign in _LOST_RACES)


def _verdict(fault: Fault, answer: Answer) -> DeliveryError:
    """By the name of the exception; its message is translated, but for what PostgreSQL says."""
    name = fault.name.rpartition(".")[2]
    if name not in _ABOUT_ONE_RECORD and is_lost_race(fault.message):
        return BUSY
    if name == "AccessDenied" or answer.status == 401:
        return _BAD_KEY
    if name in ("AccessError", "Forbidden"):
        return Misconfigured("no_right", "The Odoo user of this key lacks a right. Test the connection to see which.")
    if name == "OperationalError" and "does not exist" in fault.message:
        return _NO_SUCH_DATABASE
    if name == "NotFound":
        return NO_CRM
    if name in _ABOUT_ONE_RECORD:
        return Refused("invalid", "Odoo does not accept this record.", status=answer.status)
    return TryLater(SERVER_ERROR, "Odoo reports an error of its own.", status=answer.status)
