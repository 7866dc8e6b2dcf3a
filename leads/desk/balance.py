"""The page of daily balances: whether every enquiry that was captured stands somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from flask import Blueprint, render_template, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from sqlalchemy.orm import Session

from leads import plain
from leads.desk.room import Room
from leads.store.models import Lead, Site
from leads.store.queries.balance import DayBalance, balance, day_of, lost_leads
from leads.store.queries.lists import sites

_DAYS = 14
_MOST_DAYS = 92


class _Asked(Schema):
    """Which days to show. What cannot be read counts as not given."""

    class Meta:
        unknown = EXCLUDE

    site = fields.String()
    since = fields.Date(data_key="from")
    until = fields.Date(data_key="to")


class DayLine(NamedTuple):
    """One line. stands: where the enquiries are, in words. lost: leads of those that are not accounted for."""

    day: DayBalance
    stands: str
    lost: Sequence[Lead]


def add_routes(desk: Blueprint, room: Room) -> None:
    """The page /desk/balance."""

    @desk.get("/balance", endpoint="balance")
    def balance_page() -> str:
        asked = _asked(request.args)
        with room.read() as session:
            now, known = room.database.now(session), sites(session)
            chosen = [site for site in known if site.key == asked.get("site")] or known
            shown = [(site, _lines(session, site, _days(site, now, asked), now)) for site in chosen]
        shown_days = [line.day.day for _, lines in shown for line in lines]
        asked = {"since": min(shown_days, default=None), "until": max(shown_days, default=None)} | asked
        return render_template("desk/balance.html", now=now, sites=known, asked=asked, shown=shown)


def _asked(given: Mapping[str, str]) -> dict[str, Any]:
    filled = {name: value for name, value in given.items() if value}
    try:
        asked: dict[str, Any] = _Asked().load(filled)
    except ValidationError as error:
        asked = dict(error.valid_data) if isinstance(error.valid_data, Mapping) else {}
    return asked


def _days(site: Site, now: datetime, asked: Mapping[str, Any]) -> list[date]:
    """Days that follow each other, oldest first: as asked, within the site's life. None when all lie outside of it."""
    added, today = day_of(site, site.created_at), day_of(site, now)
    until = min(asked.get("until", today), today)
    since = max(asked.get("since", added), added)
    number = min((until - since).days + 1, _MOST_DAYS if "since" in asked else _DAYS)
    return [until - timedelta(days=back) for back in reversed(range(number))]


def _lines(session: Session, site: Site, days: Sequence[date], now: datetime) -> list[DayLine]:
    found = balance(session, site, days, now) if days else []
    return [DayLine(day, plain.stands(day.states), list(_lost(session, day, now))) for day in reversed(found)]


def _lost(session: Session, day: DayBalance, now: datetime) -> Iterator[Lead]:
    if day.lost:
        for lead_id in lost_leads(session, day.site, [day.day], now):
            yield session.get_one(Lead, lead_id)
