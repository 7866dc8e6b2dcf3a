"""The tables. Words as in the design: a Site's visitors cause Events, which belong to Leads and become Deliveries.

Columns named `*_sealed` are encrypted (`vault.py`); columns named `*_digest` are keyed hashes for equality.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    false,
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from leads.languages import ENGLISH


def new_id() -> UUID:
    """A new id that sorts by the time it was made (UUID version 7, RFC 9562)."""
    return uuid_utils.compat.uuid7()


class UTCDateTime(TypeDecorator[datetime]):
    """Aware times in, aware UTC times out. SQLite forgets the zone, whatever the column says."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(*words: str) -> Enum:
    """A word out of a few, kept as text so that a new word needs no change of type."""
    return Enum(*words, native_enum=False, create_constraint=False, length=24)


def _only(sqlite: str, postgres: str = "") -> dict[str, Any]:
    """An index of those rows alone for which this holds. postgres: where it is said otherwise there."""
    return {"sqlite_where": text(sqlite), "postgresql_where": text(postgres or sqlite)}


EVENT_KINDS = ("consultation_request", "call_click")
DELIVERY_STATES = (
    "waiting",
    "sending",
    "sent",
    "confirmed",
    "refused",
    "expired",
    "held",
    "handled",
    "erased",
)
CONNECTION_STATES = ("working", "failing", "paused")
ROLES = ("admin", "staff")
ACTION_KINDS = (
    *("send_again", "sent_elsewhere", "corrected", "handled", "not_spam", "consent_given", "drift_right"),
    *("erased", "erase_again", "erase_by_hand"),
    *("put_aside", "put_aside_started", "put_aside_stopped"),
    *("resubmission_seen", "unreadable_seen", "replay_started", "replay_stopped", "purged"),
    *("viewed", "unasked_viewed", "suspected_viewed", "unreadable_viewed", "details_revealed", "exported"),
    *("connection_added", "connection_replaced", "connection_paused", "connection_resumed", "connection_removed"),
    *("connection_signed_in", "connection_check_all", "connection_changed", "mapping_changed"),
    *("signed_in", "signed_out", "password_changed", "sign_in_failed", "sign_in_unknown"),
    *("code_failed", "recovery_code_used", "recovery_codes_made", "second_factor_on", "second_factor_off"),
    *("user_added", "user_removed", "password_reset", "role_changed", "user_sites_changed", "second_factor_reset"),
    *("site_added", "site_changed", "site_closed", "site_opened", "site_removed", "site_forgotten"),
    "hook_address_changed",
    *("keys_rotated", "key_dropped", "restored"),
)
DRIFT_KINDS = ("deleted", "changed", "duplicated", "never_stored")
ERASURE_STATES = ("waiting", "done", "needs_you", "handled")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UTCDateTime,
        UUID: Uuid,
        bytes: LargeBinary,
        str: String(200),
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[float]: JSON,
        list[dict[str, Any]]: JSON,
    }


class Meta(Base):
    """Facts about this database itself, such as the key-check value."""

    __tablename__ = "meta"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class Site(Base):
    """One website of a clinic. `key` is public: it stands in the page. require_token: an enquiry without what our form
    carries is held. hook_salt: goes into the address for form plugins, None for the first one. language: that its
    visitors are spoken to in. alert_emails: who is told of this website alone, besides those told of all. privacy_url,
    imprint_url: pages that the form links, empty for none. closed_at: since when it takes no more enquiries, None: it
    does."""

    __tablename__ = "site"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    time_zone: Mapped[str]
    region: Mapped[str] = mapped_column(String(2))
    language: Mapped[str] = mapped_column(default=ENGLISH, server_default=ENGLISH)
    origins: Mapped[list[str]]
    thank_you_urls: Mapped[list[str]]
    alert_emails: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    privacy_url: Mapped[str] = mapped_column(default="", server_default="")
    imprint_url: Mapped[str] = mapped_column(default="", server_default="")
    require_token: Mapped[bool] = mapped_column(default=False, server_default=false())
    hook_salt: Mapped[UUID | None]
    consent_version: Mapped[str]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class ConsentText(Base):
    """A wording that visitors of a site were asked to agree to. Never changed: a new wording is a new version."""

    __tablename__ = "consent_text"
    site_id: Mapped[UUID] = mapped_column(ForeignKey("site.id"), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class Lead(Base):
    """The person behind events of one site, or a caller known only by `code`, which was told for the first of them.

    known: there is an e-mail or a phone. shareable: an event with consent, not suspected, stands behind the
    details. merged_into: the lead that this one turned out to be. is_test: made by the canary, never counted.
    erased_at, erased_by: when and by whom all that could tell who it was was erased on request.
    """

    __tablename__ = "lead"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID] = mapped_column(ForeignKey("site.id"))
    code: Mapped[str] = mapped_column(String(8), unique=True)
    person_sealed: Mapped[bytes]
    known: Mapped[bool]
    shareable: Mapped[bool]
    merged_into: Mapped[UUID | None] = mapped_column(ForeignKey("lead.id"))
    is_test: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime]
    last_event_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]
    erased_by: Mapped[str | None]
    __table_args__ = (
        Index("ix_lead_recent", "last_event_at", "id"),
        Index("ix_lead_site_recent", "site_id", "last_event_at", "id"),
        # Few are, and whoever is deleted must not be one that another was merged into.
        Index("ix_lead_merged_into", "merged_into", **_only("merged_into IS NOT NULL")),
        # Few are, and the balance asks for those of them that no connection was there for.
        Index("ix_lead_erased", "site_id", "id", **_only("erased_at IS NOT NULL")),
    )


class Identity(Base):
    """An e-mail, phone or browser by which events are joined. Several leads may share a phone, as families do.

    trusted: an event that is not held says so, or staff. What is not finds the lead, but joins nothing to one that may
    be shared.
    """

    __tablename__ = "identity"
    digest: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    lead_id: Mapped[UUID] = mapped_column(ForeignKey("lead.id"), primary_key=True, index=True)
    kind: Mapped[str] = mapped_column(_words("email", "phone", "visitor"))
    seen_at: Mapped[datetime]
    trusted: Mapped[bool] = mapped_column(default=True, server_default=true())


class Event(Base):
    """One thing a visitor did. client_digest: of the id that the browser made, so that it counts once.

    is_test: sent by the canary, never counted as an enquiry. code: what the visitor was told, where the lead was known
    before; None: the lead's own code was told (see `codes.py`).
    """

    __tablename__ = "event"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID] = mapped_column(ForeignKey("site.id"))
    lead_id: Mapped[UUID] = mapped_column(ForeignKey("lead.id"), index=True)
    kind: Mapped[str] = mapped_column(_words(*EVENT_KINDS))
    client_digest: Mapped[bytes] = mapped_column(LargeBinary(16), unique=True)
    body_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    answers_sealed: Mapped[bytes]
    source: Mapped[str]
    consent_given: Mapped[bool | None]
    consent_version: Mapped[str | None]
    hold_code: Mapped[str | None]
    is_test: Mapped[bool] = mapped_column(default=False, server_default=false())
    received_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(String(8))
    __table_args__ = (
        # Not unique: the version before told one code for all calls of a caller, and they keep it at whoever it was.
        Index("ix_event_code", "code", **_only("code IS NOT NULL")),
        # Where no connection is, no delivery tells that it is held.
        Index("ix_event_held", "site_id", "hold_code", **_only("hold_code IS NOT NULL")),
        # With all that is counted by day, so that the counts read the index alone.
        Index("ix_event_site_day", "site_id", "received_at", "is_test", "kind", "id"),
        # Few are tests, and every count leaves them out.
        Index("ix_event_is_test", "id", **_only("is_test = 1", "is_test")),
    )


class Resubmission(Base):
    """The same browser id sent again with other answers or consent, or then with the first ones once more, and not by
    somebody else: kept for staff, never a second event by itself.

    received_at: when it came last. seen_at: when staff saw it; where it only tells more of the same, when it came.
    consent_*: as in Event; None also for what came before this was kept.
    """

    __tablename__ = "resubmission"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"), index=True)
    body_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    answers_sealed: Mapped[bytes]
    received_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    consent_given: Mapped[bool | None]
    consent_version: Mapped[str | None]
    __table_args__ = (
        UniqueConstraint("event_id", "body_digest"),
        # The home page tells of those that nobody has seen, and those are few.
        Index("ix_resubmission_unseen", "event_id", **_only("seen_at IS NULL")),
    )

    @property
    def tells_more(self) -> bool:
        """Whether it is no other answer, but what a plugin had still to say of this event."""
        return self.seen_at == self.received_at


class Unreadable(Base):
    """A body sent to a site's form that could not be understood: kept and shown, never dropped."""

    __tablename__ = "unreadable"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("site.id"))
    body_digest: Mapped[bytes] = mapped_column(LargeBinary(16), unique=True)
    body_sealed: Mapped[bytes]
    reason: Mapped[str]
    received_at: Mapped[datetime]
    seen_at: Mapped[datetime | None] = mapped_column(index=True)


class Connection(Base):
    """One configured account at a CRM, for one site.

    state: working, failing (paused by a fault, probed by itself at `probe_at`), paused (by staff).
    wait_until: the CRM asked us to be quiet until then. lease_*: the one worker that may use it now.
    pace_at: when the next call may start, so that all workers together keep the pace; pace_starts: when the last ones
    did, in seconds since 1970. mapping: the rules of `leads.sync.mapping`; None: those that its kind starts with.
    fields: what the version before reads instead.
    tokens_sealed: what OAuth gave us; token_lease*: the one who may renew it now; sign_in_ends_at: when a person must
    sign in again or enter a new key. quota_*: what the CRM last said of the calls it allows today, and when.
    takes_over: what came before it is still being given to it, and nothing is sent meanwhile.
    """

    __tablename__ = "connection"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID] = mapped_column(ForeignKey("site.id"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    options_sealed: Mapped[bytes]
    fields: Mapped[dict[str, Any]]
    share: Mapped[list[str]]
    unknown_callers: Mapped[str] = mapped_column(_words("record", "wait"))
    pace: Mapped[float | None]
    pace_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(_words(*CONNECTION_STATES))
    code: Mapped[str | None]
    sentence: Mapped[str | None] = mapped_column(Text)
    state_since: Mapped[datetime]
    failures: Mapped[int]
    probes: Mapped[int]
    probe_at: Mapped[datetime | None]
    wait_until: Mapped[datetime | None]
    lease_worker: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    mapping: Mapped[list[dict[str, Any]] | None]
    tokens_sealed: Mapped[bytes | None]
    token_lease: Mapped[UUID | None]
    token_lease_until: Mapped[datetime | None]
    sign_in_ends_at: Mapped[datetime | None]
    quota_left: Mapped[int | None]
    quota_of: Mapped[int | None]
    quota_at: Mapped[datetime | None]
    takes_over: Mapped[bool] = mapped_column(default=False, server_default=false())
    pace_starts: Mapped[list[float] | None]


class Delivery(Base):
    """One event for one connection: the outbox row, written in the commit that stores the event.

    attempts: tries that counted. unknown: the last try may have been written, so look before sending again.
    missing: how often the CRM did not hold what it had accepted. check_at: when to read it back: soon after it was
    sent, and every night for some weeks after it was confirmed. code, sentence, field: why it is where it is.
    """

    __tablename__ = "delivery"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    event_id: Mapped[UUID] = mapped_column(ForeignKey("event.id"))
    connection_id: Mapped[UUID] = mapped_column(ForeignKey("connection.id"))
    lead_id: Mapped[UUID] = mapped_column(ForeignKey("lead.id"))
    state: Mapped[str] = mapped_column(_words(*DELIVERY_STATES))
    due_at: Mapped[datetime]
    attempts: Mapped[int]
    unknown: Mapped[bool]
    missing: Mapped[int]
    code: Mapped[str | None]
    sentence: Mapped[str | None] = mapped_column(Text)
    field: Mapped[str | None]
    token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    remote_id: Mapped[str | None]
    remote_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    tries_from: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    check_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("event_id", "connection_id"),
        Index("ix_delivery_due", "connection_id", "state", "due_at"),
        # Few are looked at again: what is new, or was looked at for some weeks, is not in it.
        Index("ix_delivery_check", "connection_id", "state", "check_at", **_only("check_at IS NOT NULL")),
        Index("ix_delivery_lead", "lead_id", "connection_id", "created_at"),
        Index("ix_delivery_state", "state", "created_at"),
    )


class Attempt(Base):
    """One try of a delivery. verdict: what became of it (`sent`, `confirmed` or the name of the error's class)."""

    __tablename__ = "attempt"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("delivery.id"), index=True)
    started_at: Mapped[datetime]
    milliseconds: Mapped[int]
    verdict: Mapped[str]
    code: Mapped[str | None]
    status: Mapped[int | None]
    sentence: Mapped[str | None] = mapped_column(Text)


class RemoteRecord(Base):
    """The record that stands for a lead at a connection. retire: its lead was merged into another, so it goes.

    seen_fields: the CRM's field → keyed hash of its value when it was last read back; None before the first time.
    retire_at: not tried to be removed before this, since that failed. retire_tries: how often. left_because: the CRM's
    reason; where it stays for good without one, staff of the clinic have worked on it.
    """

    __tablename__ = "remote_record"
    lead_id: Mapped[UUID] = mapped_column(ForeignKey("lead.id"), primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    remote_id: Mapped[str]
    url: Mapped[str | None] = mapped_column(Text)
    retire: Mapped[bool]
    seen_fields: Mapped[dict[str, Any] | None]
    seen_at: Mapped[datetime | None]
    retire_at: Mapped[datetime | None]
    retire_tries: Mapped[int] = mapped_column(default=0, server_default="0")
    left_because: Mapped[str | None] = mapped_column(Text)
    __table_args__ = (
        Index("ix_remote_record_remote", "connection_id", "remote_id"),
        # Few are to go. In the words of the query, by which SQLite knows that the index will do.
        Index("ix_remote_record_retiring", "connection_id", **_only("retire IS 1", "retire IS true")),
    )


class Erasure(Base):
    """What is to be erased at one connection of a person who was erased here.

    remote_ids: the records that are to go there; empty once they are gone. copies: more records of the person, which
    are not ours to erase. state: waiting (for the worker, due at `due_at`), done, needs_you (cannot be erased there by
    us: `sentence` says why), handled (a person did it there).
    tries_from: nothing is written there later than this, as far as we know. attempts: tries that counted.
    """

    __tablename__ = "erasure"
    lead_id: Mapped[UUID] = mapped_column(ForeignKey("lead.id"), primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    remote_ids: Mapped[list[str]]
    copies: Mapped[list[str]]
    url: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(_words(*ERASURE_STATES))
    due_at: Mapped[datetime]
    tries_from: Mapped[datetime]
    attempts: Mapped[int]
    code: Mapped[str | None]
    sentence: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        # Few are open at any time. In the words of the query, as for those that retire.
        Index("ix_erasure_open", "connection_id", "due_at", **_only("ended_at IS NULL")),
    )


class Drift(Base):
    """What the CRM no longer holds as it was confirmed, found by a later look.

    kind: deleted, changed, duplicated, never_stored (accepted by the CRM, never kept, sent again by us). fields: the
    CRM's names of changed fields. remote_ids: the records in question. settled_at: no longer so, or a person has seen
    to it; settled_by: who, None when it settled by itself.
    """

    __tablename__ = "drift"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("delivery.id"), index=True)
    connection_id: Mapped[UUID] = mapped_column(ForeignKey("connection.id"))
    kind: Mapped[str] = mapped_column(_words(*DRIFT_KINDS))
    fields: Mapped[list[str]]
    remote_ids: Mapped[list[str]]
    found_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    __table_args__ = (Index("ix_drift_open", "settled_at", "found_at"),)


class CanaryRun(Base):
    """A marked test enquiry on its way through everything: posted, stored, seen in the CRM, removed there.

    started_by: a user's name, or `schedule`. event_id: known once it is stored.
    """

    __tablename__ = "canary_run"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    site_id: Mapped[UUID] = mapped_column(ForeignKey("site.id"))
    event_id: Mapped[UUID | None] = mapped_column(ForeignKey("event.id"))
    started_by: Mapped[str]
    state: Mapped[str] = mapped_column(_words("running", "ok", "failed"))
    code: Mapped[str | None]
    sentence: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime]
    stored_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (Index("ix_canary_run_recent", "site_id", "started_at"),)


class Replay(Base):
    """Many deliveries sent again, or put aside as spam, in the background. chosen: the filter, as it stood on the page.

    site_id: of the one website that it is about, which may be gone by now; None: of all, or begun before this was kept.
    after: the last delivery that was looked at. done: sent again or put aside; skipped: had moved on meanwhile, or
    consent was taken back.
    """

    __tablename__ = "replay"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    started_by: Mapped[str]
    chosen: Mapped[dict[str, Any]]
    site_id: Mapped[UUID | None]
    state: Mapped[str] = mapped_column(_words("running", "stopped", "finished"), index=True)
    total: Mapped[int]
    done: Mapped[int]
    skipped: Mapped[int]
    after: Mapped[UUID | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Alert(Base):
    """Something that people are told about once when it begins and once when it is over.

    kind: one of `leads.upkeep.alerts.KINDS`, or mail. subject: what it is about, such as a connection's id; never
    personal data. told_at, end_told_at: when the notice went out.
    """

    __tablename__ = "alert"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    subject: Mapped[str]
    connection_id: Mapped[UUID | None] = mapped_column(ForeignKey("connection.id"))
    sentence: Mapped[str] = mapped_column(Text)
    began_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    end_told_at: Mapped[datetime | None]
    __table_args__ = (
        Index("uq_alert_open", "kind", "subject", unique=True, **_only("ended_at IS NULL")),
        Index("ix_alert_began_at", "began_at"),
    )


class Task(Base):
    """Something done regularly by one process out of many: whoever moves due_at on, does it."""

    __tablename__ = "task"
    name: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    ran_at: Mapped[datetime | None]


class Worker(Base):
    """The heartbeat of a worker process."""

    __tablename__ = "worker"
    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class User(Base):
    """Someone of the clinic or the agency who signs in. session: changes when all sessions must end.

    totp_sealed: what the app on the phone shares with us; None: there is no second factor. totp_step: of the last code
    that was used, counted from 1970 on; neither it nor an earlier one is good again. only_sites: ids of the websites
    that they look after as staff; None: of all, also those to come.
    """

    __tablename__ = "user"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str] = mapped_column(_words(*ROLES))
    password_hash: Mapped[str]
    one_time: Mapped[bool]
    session: Mapped[UUID] = mapped_column(default=new_id)
    created_at: Mapped[datetime]
    signed_in_at: Mapped[datetime | None]
    totp_sealed: Mapped[bytes | None]
    totp_step: Mapped[int | None]
    only_sites: Mapped[list[str] | None]

    @property
    def sites(self) -> frozenset[UUID] | None:
        """The websites that they look after; None: all, as every admin does."""
        return None if self.only_sites is None or self.role == "admin" else frozenset(map(UUID, self.only_sites))

    @property
    def has_second_factor(self) -> bool:
        """Whether the password alone is not enough."""
        return self.totp_sealed is not None


class RecoveryCode(Base):
    """Instead of a code of the app, once: a row is deleted as it is used."""

    __tablename__ = "recovery_code"
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)


class Action(Base):
    """Who did what and when. what: one of ACTION_KINDS. lead_id: whose page was looked at, or who was erased."""

    __tablename__ = "action"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    user_name: Mapped[str]
    what: Mapped[str]
    delivery_id: Mapped[UUID | None] = mapped_column(ForeignKey("delivery.id"), index=True)
    connection_id: Mapped[UUID | None] = mapped_column(ForeignKey("connection.id"), index=True)
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey("lead.id", ondelete="CASCADE"), index=True)
    note_sealed: Mapped[bytes | None]
    __table_args__ = (Index("ix_action_recent", "at", "id"), Index("ix_action_what", "what", "at", "id"))
