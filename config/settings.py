"""Every setting of Frontdesk, and the only place that reads the environment.

A variable is `FRONTDESK_` and the field's name in capitals; `..._FILE` names a file that holds the value
(for secrets). Each has a safe default. All mistakes are told at once, by name and never by value.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate, validates_schema

from config.fields import (
    ADDRESS,
    Duration,
    Durations,
    HourOrOff,
    Words,
    addresses,
    failpoints,
    hosts,
    known_database,
    networks,
    redis_address,
    web_address,
)

PREFIX = "FRONTDESK_"


class SettingsError(Exception):
    """The configuration is wrong. The text is one line per variable, ready to be shown."""


@dataclass(frozen=True, slots=True)
class Settings:
    """See `SettingsSchema` for what each one means."""

    host: str
    port: int
    public_url: str
    web_threads: int
    trusted_proxies: int
    data_dir: Path
    keys_file: Path
    min_free_mb: int
    log_level: str
    form_min_seconds: float
    rate_limit: int
    rate_limit_exempt: frozenset[str]
    retry_schedule: tuple[timedelta, ...]
    crm_timeout: float
    lease_seconds: float
    lanes: int
    sweep_days: int
    keep_days: int
    allowed_private_hosts: frozenset[str]
    canary_every: timedelta
    canary_patience: timedelta
    session_idle: timedelta
    session_longest: timedelta
    second_factor: str
    sandbox_port: int
    fail_at: str
    alert_emails: frozenset[str]
    alert_after: timedelta
    digest_at: int | None
    smtp_host: str
    smtp_port: int
    smtp_security: str
    smtp_user: str
    smtp_from: str
    # What may hold a secret is never shown.
    smtp_password: str = field(repr=False)
    alert_urls: str = field(repr=False)
    metrics_token: str = field(repr=False)
    rate_limit_store: str = field(repr=False)
    database_url: str = field(repr=False)

    @property
    def can_mail(self) -> bool:
        """Whether e-mails can be sent."""
        return bool(self.smtp_host and self.smtp_from)

    @property
    def tells_somebody(self) -> bool:
        """Whether anybody is told of what is wrong, wherever it is."""
        return bool(self.alert_emails or self.alert_urls)


_PORT = validate.Range(0, 65535, error="must be a port, 0 to 65535")
_SESSION = validate.Range(timedelta(minutes=5), timedelta(days=30), error="must be 5m to 30d")


class SettingsSchema(Schema):
    """One field per variable; `help` becomes `config/env.example` and the reference page."""

    class Meta:
        unknown = RAISE

    host = fields.String(load_default="127.0.0.1", metadata={"help": "Address that the web server listens on."})
    port = fields.Integer(load_default=8000, validate=_PORT, metadata={"help": "Port that the web server listens on."})
    public_url = fields.String(
        load_default="",
        validate=web_address,
        metadata={"help": "Address under which visitors and staff reach Frontdesk; empty: http://HOST:PORT."},
    )
    web_threads = fields.Integer(
        load_default=32,
        validate=validate.Range(1, 256),
        metadata={"help": "Requests that are worked on at the same time."},
    )
    trusted_proxies = fields.Integer(
        load_default=0,
        validate=validate.Range(0, 5),
        metadata={"help": "Number of reverse proxies in front whose X-Forwarded-* headers are believed."},
    )
    data_dir = fields.String(
        load_default="./data", metadata={"help": "Folder of the SQLite file and the generated keys."}
    )
    database_url = fields.String(
        load_default="",
        validate=known_database,
        metadata={"help": "postgresql://user:password@host/name; empty: an SQLite file in the data folder."},
    )
    keys_file = fields.String(
        load_default="",
        metadata={"help": "File of the encryption keys; empty: keys.json in the data folder."},
    )
    min_free_mb = fields.Integer(
        load_default=50,
        validate=validate.Range(0),
        metadata={
            "help": "With less room than this on the disk of the SQLite file (MiB) new enquiries are turned away, to "
            "be sent again; 0: whatever is free. 16 MiB more are held by a file called ballast."
        },
    )
    log_level = fields.String(
        load_default="info",
        validate=validate.OneOf(["debug", "info", "warning", "error"]),
        metadata={"help": "debug, info, warning or error."},
    )
    form_min_seconds = fields.Float(
        load_default=1.0,
        validate=validate.Range(0, 60),
        metadata={"help": "A form sent sooner than this after it was shown is held as suspected spam (seconds)."},
    )
    rate_limit = fields.Integer(
        load_default=20,
        validate=validate.Range(1),
        metadata={
            "help": "Enquiries per address and site in ten minutes; what comes above is held, not lost. A form plugin "
            "sends for all visitors of a site, so it may send thirty times as many."
        },
    )
    rate_limit_exempt = Words(
        load_default=frozenset({"127.0.0.0/8", "::1"}),
        validate=networks,
        metadata={
            "help": "Networks that are not rate-limited. An address of your own proxy says nothing about a visitor."
        },
    )
    rate_limit_store = fields.String(
        load_default="",
        validate=redis_address,
        metadata={
            "help": "Redis or Valkey in which all web hosts count together, as redis://host:6379; empty: each web "
            "process for itself. While it is down, too. Needs the extra `redis`."
        },
    )
    retry_schedule = Durations(
        load_default=(
            *(timedelta(seconds=s) for s in (0, 5, 60, 300, 1800)),
            *(timedelta(hours=h) for h in (2, 5, 10, 10)),
            *(timedelta(days=1) for _ in range(6)),
        ),
        metadata={"help": "Waits before each try; after the last one an enquiry needs a person."},
    )
    crm_timeout = fields.Float(
        load_default=20.0,
        validate=validate.Range(0.1, 120),
        metadata={"help": "A call to a CRM is given up after this many seconds in all."},
    )
    lease_seconds = fields.Float(
        load_default=120.0,
        validate=validate.Range(1, 3600),
        metadata={"help": "What a dead worker held is taken over after this many seconds."},
    )
    lanes = fields.Integer(
        load_default=8,
        validate=validate.Range(1, 64),
        metadata={"help": "Connections that one worker serves at the same time."},
    )
    sweep_days = fields.Integer(
        load_default=30,
        validate=validate.Range(0, 365),
        metadata={"help": "For so many days what is in the CRM is looked at again each night; 0: never."},
    )
    keep_days = fields.Integer(
        load_default=0,
        validate=validate.Range(0, 36500),
        metadata={
            "help": "A person is forgotten here this many days after the last enquiry, once all of it is in the CRM "
            "or was taken care of; also what is held as spam, for want of consent or until a caller is known, if "
            "nobody has decided on it by then. What could not be understood is forgotten so many days after it came, "
            "seen or not. 0: never."
        },
    )
    allowed_private_hosts = Words(
        load_default=frozenset(),
        validate=hosts,
        metadata={"help": "Hosts (or host:port) with private addresses that connections may call."},
    )
    canary_every = Duration(
        load_default=timedelta(),
        metadata={
            "help": "How often a test enquiry goes the whole way into each CRM and is removed there, such as 1d; 0s: "
            "never by itself. A CRM may act on new contacts, so look there first."
        },
    )
    canary_patience = Duration(
        load_default=timedelta(minutes=10),
        metadata={"help": "A test enquiry that no CRM shows after this time has failed."},
    )
    session_idle = Duration(
        load_default=timedelta(minutes=30),
        validate=_SESSION,
        metadata={
            "help": "After this time without a click one has to sign in to the desk again, such as 15m; a page that "
            "refreshes itself is no click."
        },
    )
    session_longest = Duration(
        load_default=timedelta(hours=12),
        validate=_SESSION,
        metadata={"help": "After this time one has to sign in to the desk again, whatever was clicked."},
    )
    second_factor = fields.String(
        load_default="optional",
        validate=validate.OneOf(["optional", "required"]),
        metadata={
            "help": "optional: each user may set up a code from an app on the phone for signing in to the desk; "
            "required: everybody does so before they see anything else."
        },
    )
    sandbox_port = fields.Integer(
        load_default=8001, validate=_PORT, metadata={"help": "Port of the sandbox CRM that the demo starts."}
    )
    fail_at = fields.String(
        load_default="",
        validate=failpoints,
        metadata={
            "help": "For tests: POINT:ACTION (kill, term, raise, pause, halt) at a named point; :N, its N-th passage."
        },
    )

    alert_emails = Words(
        load_default=frozenset(),
        validate=addresses,
        metadata={"help": "Addresses that are told when something is wrong, and every morning how all stands."},
    )
    alert_after = Duration(
        load_default=timedelta(minutes=30),
        metadata={"help": "An enquiry that is not in the CRM after this time is told."},
    )
    digest_at = HourOrOff(
        load_default=8,
        metadata={"help": "Hour of the daily summary, 0 to 23, in the first site's time zone; or off."},
    )
    smtp_host = fields.String(load_default="", metadata={"help": "Mail server that sends the notices."})
    smtp_port = fields.Integer(
        load_default=0,
        validate=_PORT,
        metadata={"help": "Port of the mail server; 0: 587 with starttls, 465 with tls, 25 with none."},
    )
    smtp_security = fields.String(
        load_default="starttls",
        validate=validate.OneOf(["starttls", "tls", "none"]),
        metadata={"help": "How the way to the mail server is protected: starttls, tls or none."},
    )
    smtp_user = fields.String(load_default="", metadata={"help": "Name at the mail server; empty: without a sign-in."})
    smtp_password = fields.String(load_default="", metadata={"help": "Password at the mail server."})
    smtp_from = fields.String(
        load_default="",
        validate=validate.Regexp(ADDRESS, error="must be an e-mail address"),
        metadata={"help": "Sender of the notices; empty: FRONTDESK_SMTP_USER where that is an address."},
    )
    alert_urls = fields.String(
        load_default="",
        metadata={"help": "Chats and phones that are told as well, as Apprise addresses; needs the extra `alerts`."},
    )
    metrics_token = fields.String(
        load_default="",
        validate=validate.Length(min=16, error="must be at least 16 characters long"),
        metadata={"help": "Who sends this as a Bearer token may read /metrics: 16 characters or more; empty: nobody."},
    )

    # Also where other fields are wrong, so that all is told at once; what is wrong itself is not in `data`.
    @validates_schema(skip_on_field_errors=False)
    def _lease_outlasts_call(self, data: dict[str, Any], **kwargs: Any) -> None:
        if data.get("lease_seconds", math.inf) <= data.get("crm_timeout", 0):
            raise ValidationError("must be longer than FRONTDESK_CRM_TIMEOUT", "lease_seconds")

    @validates_schema(skip_on_field_errors=False)
    def _mail_can_be_sent(self, data: dict[str, Any], **kwargs: Any) -> None:
        given = {"smtp_host": data.get("smtp_host", "-"), "smtp_from": _sender(data)}
        missing = [name for name in given if data.get("alert_emails") and not given[name]]
        if missing:
            raise ValidationError({name: ["is needed to send to FRONTDESK_ALERT_EMAILS"] for name in missing})

    @post_load
    def _build(self, data: dict[str, Any], **kwargs: Any) -> Settings:
        data["data_dir"] = Path(data["data_dir"]).expanduser()
        data["keys_file"] = Path(data["keys_file"] or data["data_dir"] / "keys.json").expanduser()
        data["database_url"] = _database_url(data["database_url"], data["data_dir"])
        data["smtp_port"] = data["smtp_port"] or {"starttls": 587, "tls": 465, "none": 25}[data["smtp_security"]]
        data["smtp_from"] = _sender(data)
        data["public_url"] = (data["public_url"] or local_address(data["host"], data["port"])).rstrip("/")
        return Settings(**data)


def local_address(host: str, port: int) -> str:
    """Where a web server that listens there is reached."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _sender(data: Mapping[str, Any]) -> str:
    """Whom notices are from: as said, or whoever signs in at the mail server, where that is an address."""
    user: str = data.get("smtp_user", "")
    said: str = data.get("smtp_from", "-")  # left out where it is wrong, which is told already
    return said or (user if ADDRESS.fullmatch(user) else "")


def _database_url(url: str, data_dir: Path) -> str:
    if not url:
        return f"sqlite:///{data_dir / 'frontdesk.sqlite3'}"
    # SQLAlchemy refuses the short form that hosting providers hand out.
    return re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql+psycopg://", url)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: str) -> Settings:
    """Read the environment. overrides: fields by name, as text, stronger than the environment.

    Raises SettingsError naming every variable that is wrong.
    """
    known = set(SettingsSchema().fields)
    given, mistakes = _collect(os.environ if environ is None else environ, known)
    try:
        settings: Settings = SettingsSchema().load(given | overrides)
    except ValidationError as error:
        mistakes += [f"{PREFIX}{name.upper()}: {_sentence(text)}" for name, text in error.messages_dict.items()]
        raise SettingsError("\n".join(mistakes)) from None
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _collect(environ: Mapping[str, str], known: set[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    mistakes: list[str] = []
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or not value:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            given[name] = value
        elif name.endswith("_file") and name.removesuffix("_file") in known:
            if environ.get(plain := variable.removesuffix("_FILE")):
                mistakes.append(f"{variable}: {plain} is set as well; leave one of the two out")
                continue
            try:
                given[name.removesuffix("_file")] = Path(value).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: nobody's home
                why = getattr(error, "strerror", None) or "it is no text, or nobody's home"
                mistakes.append(f"{variable}: the file it names cannot be read: {why}")
        else:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
            mistakes.append(f"{variable}: there is no such setting{hint}")
    return given, mistakes


def _sentence(messages: Any) -> str:
    return " ".join(messages) if isinstance(messages, list) else str(messages)


def render_example() -> str:
    """The text of `config/env.example`: every variable, its meaning and its default."""
    lines = ["# Every setting of Frontdesk. NAME_FILE=path reads a value from a file.\n"]
    for name, setting in SettingsSchema().fields.items():
        lines += [
            f"# {setting.metadata['help']}",
            f"#{PREFIX}{name.upper()}={shown(setting.load_default)}\n",
        ]
    return "\n".join(lines)


def shown(default: Any) -> str:
    """A setting's value as it is written in the environment."""
    if isinstance(default, frozenset):
        return ",".join(sorted(default))
    if isinstance(default, tuple):
        return ",".join(_short(wait) for wait in default)
    if isinstance(default, timedelta):
        return _short(default)
    if default is None:
        return "off"
    return str(default)


def _short(wait: timedelta) -> str:
    seconds = int(wait.total_seconds())
    unit, size = next(
        (u, s) for u, s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % s == 0 and (seconds or s == 1)
    )
    return f"{seconds // size}{unit}"
