"""`frontdesk alerts`: what people are told, and whether they can be told."""

from __future__ import annotations

import threading
from datetime import timedelta

import click

from config.settings import Settings
from leads.commands.office import WRONG, Office, as_rows, fail, json_option, say
from leads.store.alerts import recent_alerts
from leads.upkeep.chat import Chat
from leads.upkeep.mail import Mail
from leads.upkeep.notice import Channel, NoticeError
from leads.upkeep.notices import TEST, Notifier
from leads.upkeep.watch import Watchman

_NOBODY = "Nobody is told: set FRONTDESK_ALERT_EMAILS and FRONTDESK_SMTP_HOST, or FRONTDESK_ALERT_URLS."


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
def test() -> None:
    """Send a test notice, and say what became of it."""
    ways = channels(Office().settings)
    if not ways:
        fail(_NOBODY)
    failed = False
    for channel in ways:
        try:
            say(f"ok    {channel.name}: {channel.send(TEST)}")
        except NoticeError as error:
            failed = True
            say(f"wrong {channel.name}: {error}")
    if failed:
        raise SystemExit(WRONG)


def channels(settings: Settings) -> list[Channel]:
    """The ways to reach people that are set up."""
    ways: list[Channel] = []
    if settings.alert_emails:
        ways.append(
            Mail(
                settings.smtp_host,
                settings.smtp_port,
                settings.smtp_security,
                settings.smtp_user,
                settings.smtp_password,
                settings.smtp_from,
                sorted(settings.alert_emails),
            )
        )
    return [*ways, Chat(settings.alert_urls)] if settings.alert_urls else ways


def start_watchman(office: Office, stop: threading.Event | None = None) -> None:
    """Let somebody look after all in the background, for as long as this program runs."""
    settings = office.settings
    notifier = Notifier(channels(settings), settings.public_url, settings.digest_at, timedelta(days=settings.keep_days))
    Watchman(office.database, notifier, settings.alert_after).start(stop or threading.Event())
