"""Connections are made, tested and changed here, for the command line and the desk alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from integrations.core.base import Connector, Finding
from integrations.core.errors import DeliveryError, Misconfigured
from integrations.core.registry import connector_class, kinds
from leads.store import callers, outbox, tokens
from leads.store.models import Connection, Site, new_id
from leads.store.queries.lists import connections_in_use
from leads.store.session import NO_DATABASE, Database
from leads.store.sites import find_site
from leads.store.staff import record
from leads.store.vault import Vault, VaultError
from leads.sync.account import require_same_account
from leads.sync.calls import log_bug
from leads.sync.connect import Limits, build_connector, options_of, stored_connector, tokens_of
from leads.sync.options import UNREADABLE, SetupError, class_of, load_options, needs_person, seem_the_same
from leads.sync.plan import Plan, changes, default_plan, plan_of
from leads.sync.tokens import ends

_LONGEST_NAME = 100
_SLOWEST, _FASTEST = 0.1, 1000.0  # calls a second
CALLERS = {"record": "get a record with their code", "wait": "wait until they are known"}
_TWICE = "The enquiries of {} seem to go to this CRM account already, by “{}”: each would stand there twice."
_NAMES = frozenset({b"the names of connections"})  # whoever gives one holds it, so that nobody gives the same at once


@dataclass(frozen=True, slots=True)
class Setup:
    """What making and changing connections needs. by: the user's name, for the record of actions."""

    database: Database
    vault: Vault
    limits: Limits
    by: str

    def require_site(self, key: str) -> None:
        """Look whether there is this site, before the slow test of a CRM. Raises SetupError."""
        with self.database.read() as session:
            _site(session, key)

    def require_free(self, name: str, connection: Connection | None = None) -> None:
        """Look whether a name is taken, before the slow test of a CRM; storing looks again. Raises SetupError.

        connection: whose name it is to become, which may keep its own.
        """
        if connection is not None and name.strip() == connection.name:
            return
        with self.database.read() as session:
            _as_typed(name, _names(session, besides=connection.id if connection else None))

    def require_pace(self, kind: str, typed: str) -> None:
        """Look whether a pace can be one, before the slow test of a CRM. Raises SetupError."""
        _pace(class_of(kind), typed)

    def connected(self, site_key: str, kind: str, typed: Mapping[str, Any]) -> str:
        """That a website's enquiries go to this account already, as far as the options tell, in a sentence; empty where
        they do not. Raises SetupError."""
        options = load_options(kind, typed)
        with self.database.read() as session:
            return self._connected(session, _site(session, site_key), kind, options)

    def _connected(self, session: Session, site: Site, kind: str, options: Mapping[str, Any]) -> str:
        its = [row for row in connections_in_use(session) if (row.site_id, row.kind) == (site.id, kind)]
        same = next((row for row in its if seem_the_same(kind, self.options(row), options)), None)
        return _TWICE.format(site.name, same.name) if same else ""

    def try_out(self, kind: str, typed: Mapping[str, Any], connection: Connection | None = None) -> list[Finding]:
        """Check options that are not stored yet, and create in the CRM what is missing there. Raises SetupError, also
        where they lead to another account than the connection's.

        connection: whose options they are to become. Where somebody has to sign in first, nothing is found.
        """
        options = load_options(kind, typed)
        oauth = connector_class(kind).oauth(options)
        if oauth is None or not oauth.by_person:
            return self._try_for(connection, build_connector(kind, options, self.limits))
        if connection is None or connection.tokens_sealed is None or self._ends_sign_in(connection, options):
            return []
        signed = tokens_of(self.database, self.vault, self.limits, connection, options)
        stored = stored_connector(self.database, self.vault, self.limits, connection, options)
        # A token that was given before says nothing of the client secret that was typed now.
        return self._try_for(connection, stored, first=signed.replace if signed else None)

    def _try_for(
        self, connection: Connection | None, connector: Connector, first: Callable[[], None] | None = None
    ) -> list[Finding]:
        findings = _try(connector, first)
        if connection is not None and all(finding.ok for finding in findings):
            require_same_account(self.database, self.vault, connection, connector)
        return findings

    def create(
        self,
        site_key: str,
        kind: str,
        name: str,
        typed: Mapping[str, Any],
        unknown_callers: str = "record",
        wrong: Sequence[Finding] = (),
        pace: str = "",
        once: bool = False,
    ) -> Connection:
        """Store a connection; a site's first one also gets what came before it. Raises SetupError.

        name: empty for the CRM's own, with the site's if it is taken. wrong: what its test found, in spite of which it
        is stored. pace: calls a second, as typed; empty for the CRM's own. once: not where its account is connected.
        """
        connector, options = class_of(kind), load_options(kind, typed)
        with self.database.write() as session:
            self.database.lock(session, _NAMES)
            site, now, others = _site(session, site_key), self.database.now(session), _names(session)
            name = _as_typed(name, others) or _usual_name(connector.label, site, others)
            if once and (told := self._connected(session, site, kind, options)):
                raise SetupError(told)
            connection = _new(kind, site, name, now)
            connection.unknown_callers, connection.pace = unknown_callers, _pace(connector, pace)
            connection.sign_in_ends_at = ends(None, connector.key_ends(options), now)
            connection.options_sealed = self._seal(connection, options)
            if needs_person(kind, options):
                outbox.wait_for_sign_in(connection, now)
            elif wrong:
                outbox.start_failing(connection, wrong[0].sentence, now)
            session.add(connection)
            session.flush()
            self._record(session, connection, "connection_added")
        with suppress(*NO_DATABASE):  # it is stored, and the worker goes on with this
            outbox.take_over(self.database, connection.id)
        return connection

    def test(self, connection_id: UUID) -> list[Finding]:
        """Check a stored connection, and create in the CRM what is missing there."""
        with self.database.read() as session:
            connection = session.get_one(Connection, connection_id)
        options = self.options(connection)
        if connection.kind in kinds() and not options:
            return [Finding(False, UNREADABLE)]
        return _try(self._stored(connection, options))

    def start_if_well(self, connection_id: UUID, findings: Sequence[Finding]) -> bool:
        """Try at once what a fault had stopped, when its test found nothing wrong; what staff paused stays so. Returns
        whether it is tried now."""
        if not findings or any(not finding.ok for finding in findings):
            return False
        with self.database.write() as session:
            connection = session.get_one(Connection, connection_id, with_for_update=True)
            if connection.state != "failing" or connection.removed_at is not None:
                return False
            outbox.try_now(session, connection, self.database.now(session))
            self._record(session, connection, "connection_resumed")
            self.database.nudge(session)
        return True

    def merged(self, connection: Connection, typed: Mapping[str, Any]) -> dict[str, Any]:
        """Stored options with what was typed over them: a secret left empty stays as it is, any other is emptied. None
        removes a secret too."""
        schema = connector_class(connection.kind).options().fields
        kept = {name for name, field in schema.items() if field.metadata.get("secret")}
        given = {name: value for name, value in typed.items() if value != "" or name not in kept}
        return self.options(connection) | given

    def replace(
        self,
        connection_id: UUID,
        typed: Mapping[str, Any],
        wrong: Sequence[Finding] = (),
        name: str = "",
        unknown_callers: str | None = None,
        pace: str | None = None,
    ) -> Connection:
        """Store new options and start the connection again, unless staff paused it. Raises SetupError.

        wrong: what the test of these options found, in spite of which they are stored. name: empty to keep the old one.
        unknown_callers, pace: as for `change`.
        """
        with self.database.write() as session:
            self.database.lock(session, _NAMES)
            connection = _in_use(session, connection_id)
            options = load_options(connection.kind, self.merged(connection, typed))
            now = self.database.now(session)
            others = _names(session, besides=connection.id)
            if name.strip() != connection.name:  # those of equal names, from when that was allowed, may keep them
                connection.name = _as_typed(name, others) or connection.name
            if connection.tokens_sealed is None or self._ends_sign_in(connection, options):
                tokens.forget(connection, ends(None, class_of(connection.kind).key_ends(options), now))
            connection.options_sealed = self._seal(connection, options)
            if connection.tokens_sealed is None and needs_person(connection.kind, options):
                outbox.wait_for_sign_in(connection, now)
            elif connection.state != "paused":
                outbox.resume(session, connection, now)
                if wrong:
                    outbox.start_failing(connection, wrong[0].sentence, now)
            changed = self._change(session, connection, unknown_callers, pace)
            self._record(session, connection, "connection_replaced", changed)
            self.database.nudge(session)
        return connection

    def change(self, connection_id: UUID, unknown_callers: str | None = None, pace: str | None = None) -> str:
        """Change how it is used, without asking the CRM. Returns what changed, in sentences. Raises SetupError.

        unknown_callers: `record`, which also sends what was held for its caller to be known, or `wait`, for calls from
        now on. pace: calls a second, as typed; empty for the CRM's own. None keeps what is.
        """
        with self.database.write() as session:
            connection = _in_use(session, connection_id)
            if changed := self._change(session, connection, unknown_callers, pace):
                self._record(session, connection, "connection_changed", changed)
                self.database.nudge(session)
        return changed

    def _change(self, session: Session, connection: Connection, unknown_callers: str | None, pace: str | None) -> str:
        told = []
        if unknown_callers not in (None, connection.unknown_callers):
            connection.unknown_callers = unknown_callers
            if unknown_callers == "record":
                callers.release_all(session, connection.id, self.database.now(session))
            told.append(f"Unknown callers now {CALLERS[unknown_callers]}.")
        if pace is not None and (wanted := _pace(class_of(connection.kind), pace)) != connection.pace:
            connection.pace = wanted
            told.append(f"The pace is now {f'at most {wanted:g} calls a second' if wanted else 'without a limit'}.")
        return " ".join(told)

    def remap(self, connection_id: UUID, plan: Plan, seen: str | None = None) -> None:
        """Write by this plan from now on, and try it at once unless staff paused the connection.

        seen: the mark of the plan that somebody began to change. Raises SetupError when it is not in use any more.
        """
        with self.database.write() as session:
            connection = _in_use(session, connection_id)
            before, now = plan_of(connection), self.database.now(session)
            if seen not in (None, before.mark()):
                raise SetupError("Somebody else has changed this meanwhile. Here is how it stands now.")
            connection.mapping, connection.share = plan.rules, plan.share
            if connection.state != "paused":
                outbox.try_now(session, connection, now)
            self._record(session, connection, "mapping_changed", " ".join(changes(before, plan)))
            self.database.nudge(session)

    def revealed(self, connection_id: UUID, codes: Iterable[str]) -> None:
        """Write down that the details of these leads were looked at. codes: their reference codes."""
        with self.database.write() as session:
            connection = session.get_one(Connection, connection_id)
            self._record(session, connection, "details_revealed", ", ".join(codes))

    def pause(self, connection_id: UUID) -> None:
        """Stop sending until somebody resumes it. Raises SetupError."""
        with self.database.write() as session:
            connection = _in_use(session, connection_id)
            outbox.pause(session, connection, self.database.now(session))
            self._record(session, connection, "connection_paused")

    def resume(self, connection_id: UUID) -> None:
        """Try again, at once. Raises SetupError."""
        with self.database.write() as session:
            connection = _in_use(session, connection_id)
            outbox.try_now(session, connection, self.database.now(session))
            self._record(session, connection, "connection_resumed")
            self.database.nudge(session)

    def connector(self, connection: Connection) -> Connector | None:
        """The connector with the options of this connection. None: there is none of its kind any more, or the options
        cannot be read any more."""
        options = self.options(connection)
        return self._stored(connection, options) if options and connection.kind in kinds() else None

    def check_all(self, connection_id: UUID) -> int:
        """Look again at all that was confirmed there lately, now and not at night. Returns how many enquiries."""
        with self.database.write() as session:
            self._record(session, session.get_one(Connection, connection_id), "connection_check_all")
        return outbox.check_all(self.database, connection_id, self.limits.sweep_days)

    def remove(self, connection_id: UUID) -> int:
        """Take a connection out of use and forget its secrets. Returns how many enquiries had not arrived yet. Raises
        SetupError."""
        with self.database.write() as session:
            connection = _in_use(session, connection_id)
            connection.options_sealed = self._seal(connection, {})
            tokens.forget(connection)
            left = outbox.remove(session, connection, self.database.now(session))
            self._record(session, connection, "connection_removed")
        return left

    def _seal(self, connection: Connection, options: Mapping[str, Any]) -> bytes:
        return self.vault.seal(dict(options), "connection", "options", connection.id)

    def options(self, connection: Connection) -> dict[str, Any]:
        """The stored options, secrets included. None of those that cannot be read any more: so they can be entered
        again."""
        try:
            return options_of(self.vault, connection)
        except VaultError:
            return {}

    def _stored(self, connection: Connection, options: dict[str, Any]) -> Connector:
        return stored_connector(self.database, self.vault, self.limits, connection, options)

    def _ends_sign_in(self, connection: Connection, options: Mapping[str, Any]) -> bool:
        """Whether what was given to sign in by the stored options is of no use with these."""
        before, oauth = self.options(connection), connector_class(connection.kind).oauth
        if not before:
            return True
        same_app = before.get("client_id") == options.get("client_id") and oauth(before) == oauth(options)
        return not (same_app and needs_person(connection.kind, options))

    def _record(self, session: Session, connection: Connection, what: str, note: str = "") -> None:
        now = self.database.now(session)
        record(session, self.by, what, now, connection_id=connection.id, vault=self.vault, note=note)


def _in_use(session: Session, connection_id: UUID) -> Connection:
    """Locked. Raises SetupError where somebody removed it since its page was opened."""
    connection = session.get_one(Connection, connection_id, with_for_update=True)
    if connection.removed_at is not None:
        raise SetupError("This connection was removed meanwhile. Nothing was changed.")
    return connection


def _site(session: Session, key: str) -> Site:
    """Raises SetupError."""
    site = find_site(session, key)
    if site is None:
        raise SetupError(f"There is no site with the key {key}." if key else "Please choose the website.")
    return site


def _new(kind: str, site: Site, name: str, now: datetime) -> Connection:
    """One that works as far as anybody knows, and writes what those of its kind usually do."""
    plan = default_plan(kind)
    return Connection(
        id=new_id(),
        site_id=site.id,
        kind=kind,
        name=name,
        fields=dict(class_of(kind).fields),
        mapping=plan.rules,
        share=plan.share,
        state="working",
        state_since=now,
        failures=0,
        probes=0,
        created_at=now,
        takes_over=True,
    )


def _names(session: Session, besides: UUID | None = None) -> set[str]:
    """Of the connections in use. besides: the one that may keep its own."""
    return {row.name.casefold() for row in connections_in_use(session) if row.id != besides}


def _as_typed(name: str, others: set[str]) -> str:
    """Sentences tell a connection by its name alone, so no two in use get the same. Raises SetupError."""
    name = name.strip()[:_LONGEST_NAME]
    if name.casefold() in others:
        sentence = f"Another connection is called “{name}” already. Choose another name."
        raise SetupError(sentence, {"name": [sentence]})
    return name


def _pace(connector: type[Connector], typed: str) -> float | None:
    """Calls a second; empty for the CRM's own. Raises SetupError."""
    if not typed.strip():
        return connector.pace
    try:
        pace = float(typed)
    except ValueError:
        pace = 0.0
    if not _SLOWEST <= pace <= _FASTEST:  # nor what is no number
        sentence = f"Write a number of calls a second from {_SLOWEST:g} to {_FASTEST:g}, such as 5, or leave it empty."
        raise SetupError(sentence, {"pace": [sentence]})
    return pace


def _usual_name(label: str, site: Site, others: set[str]) -> str:
    """What a connection is called when nobody gave it a name."""
    with_site = f"{label} of {site.name}"[:_LONGEST_NAME]
    numbered = (f"{with_site} ({number})" for number in count(2))
    return next(name for name in chain([label, with_site], numbered) if name.casefold() not in others)


def _try(connector: Connector, first: Callable[[], None] | None = None) -> list[Finding]:
    """prepare() creates what is missing, then check() tells what is still wrong. A refusal becomes a finding."""
    try:
        if first:
            first()
        return connector.prepare() + connector.check()
    except Misconfigured as error:
        return [Finding(False, error.sentence)]
    except DeliveryError as error:
        return [Finding(False, f"The CRM could not be asked: {error.sentence}")]
    except Exception as error:  # noqa: BLE001 - an answer in a shape that nobody thought of
        log_bug(error)
        return [Finding(False, "What the CRM answered could not be read.")]
