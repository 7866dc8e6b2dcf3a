"""`frontdesk alerts`: what people are told, and whether they can be told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import click

from config.settings import Settings
from leads.commands.office import WRONG, Office, as_rows, fail, json_option, say, site_named
from leads.store.alerts import recent_alerts
from leads.store.models import Site
from leads.upkeep.chat import Chat
from leads.upkeep.mail import Mail
from leads.upkeep.notice import Channel, NoticeError
from leads.upkeep.notices import Notifier
from leads.upkeep.watch import Watchman
from leads.upkeep.wording import trial

_NOBODY = "Nobody is told: set FRONTDESK_ALERT_EMAILS and FRONTDESK_SMTP_HOST, or FRONTDESK_ALERT_URLS."
_NO_MAIL = "No mail can be sent: set FRONTDESK_SMTP_HOST and FRONTDESK_SMTP_FROM."


@click.group()
def alerts() -> None:
    """What people are told when something is wrong."""


@alerts.command("list")
@json_option
def list_alerts(json_: bool) -> None:
    """Show what is wrong, then what was last."""
    with Office().database.read() as session:
        rows = [
            {
                "kind": alert.kind,
                "began_at": alert.began_at,
                "told_at": alert.told_at,
                "ended_at": alert.ended_at,
                "sentence": alert.sentence,
            }
            for alert in recent_alerts(session)
        ]
    columns = ["kind", "began_at", "told_at", "ended_at", "sentence"]
    as_rows(columns, rows, "Nothing is wrong, and nothing was.", json_=json_)


@alerts.command("test")
@click.option("--site", "key", help="To those who are told of this website alone.")
def test(key: str | None) -> None:
    """Send a test notice, and say what became of it."""
    office = Office()
    notice = trial()
    if key is None:
        ways = channels(office.settings)
    else:
        site, way = _way_to(office, key)
        ways, notice = [way], trial(site)
    if not office.settings.tells_somebody:
        fail(_NOBODY)
    failed = False
    for channel in ways:
        try:
            say(f"ok    {channel.name}: {channel.send(notice)}")
        except NoticeError as error:
            failed = True
            say(f"wrong {channel.name}: {error}")
    if failed:
        raise SystemExit(WRONG)


def channels(settings: Settings) -> list[Channel]:
    """The ways to reach people that are set up."""
    ways: list[Channel] = []
    if settings.alert_emails:
        ways.append(_mail(settings, sorted(settings.alert_emails)))
    return [*ways, Chat(settings.alert_urls)] if settings.alert_urls else ways


def nobody_told(settings: Settings) -> str:
    """Why nobody is told of what is wrong, in a sentence; empty where somebody is. Nothing is sent."""
    if not settings.tells_somebody:
        return _NOBODY
    try:
        if settings.alert_urls:
            Chat(settings.alert_urls).services()
    except NoticeError as error:
        return str(error)
    return ""


def nobody_told_of_a_website(settings: Settings) -> str:
    """Why those who are told of a website alone cannot be told, in a sentence; empty where they can."""
    if not settings.tells_somebody:
        return _NOBODY
    return "" if settings.can_mail else _NO_MAIL


def _way_to(office: Office, key: str) -> tuple[Site, Channel]:
    with office.database.read() as session:
        found = site_named(session, key)
    if not found.alert_emails:
        fail(f"Nobody is told of {found.name} alone. Name somebody: frontdesk site change {key} --alert-email ADDRESS")
    if not office.settings.can_mail:
        fail(_NO_MAIL)
    return found, _mail(office.settings, found.alert_emails)


def _mail(settings: Settings, to: Sequence[str]) -> Mail:
    return Mail(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_security,
        settings.smtp_user,
        settings.smtp_password,
        settings.smtp_from,
        to,
    )


def start_watchman(office: Office, stop: threading.Event | None = None) -> None:
    """Let somebody look after all in the background, for as long as this program runs."""
    settings = office.settings
    notifier = Notifier(
        channels(settings),
        settings.public_url,
        settings.digest_at,
        timedelta(days=settings.keep_days),
        partial(_mail, settings) if settings.can_mail else None,
    )
    Watchman(office.database, notifier, settings.alert_after, office.vault).start(stop or threading.Event())
