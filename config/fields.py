"""Kinds of values that a setting may have, beyond those of marshmallow."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\Z")
_DATABASE = (
    "cannot be read: it must be postgresql://user:password@host:5432/name, the port a number, and each @ : / of the "
    "password written as %40 %3A %2F"
)
_FAILPOINT = re.compile(r"[a-z.]+:(kill|term|raise|pause|halt)(:[1-9]\d{0,8})?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Durations(fields.Field[tuple[timedelta, ...]]):
    """`0s,5s,1m,2h,1d` → a tuple of timedeltas."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> tuple[timedelta, ...]:
        wanted = "must be durations such as 0s,5s,1m,2h,1d, separated by commas"
        return tuple(_duration(part, wanted) for part in str(value).split(","))


class Duration(fields.Field[timedelta]):
    """`30m` → a timedelta."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> timedelta:
        return _duration(str(value), "must be a duration such as 90s, 30m or 2h")


def _duration(text: str, wanted: str) -> timedelta:
    found = re.fullmatch(r"\s*(\d+)([smhd])\s*", text)
    if not found:
        raise ValidationError(wanted)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class HourOrOff(fields.Field[int | None]):
    """`8` → 8; `off` → None."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int | None:
        text = str(value).strip().lower()
        if text == "off":
            return None
        if not re.fullmatch(r"\d{1,2}", text) or int(text) > 23:
            raise ValidationError("must be an hour, 0 to 23, or off")
        return int(text)


class Words(fields.Field[frozenset[str]]):
    """`a, b` → a set of words."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> frozenset[str]:
        return frozenset(word.strip() for word in str(value).split(",") if word.strip())


def known_database(url: str) -> None:
    """Raises ValidationError unless it is the URL of a database that Frontdesk knows."""
    if not url:
        return
    if not re.match(r"(sqlite|postgres(ql)?(\+psycopg)?)://", url):
        raise ValidationError("must begin with postgresql:// or sqlite://")
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise ValidationError(_DATABASE) from None
    if parts.get_backend_name() == "sqlite" and parts.database in (None, "", ":memory:"):
        raise ValidationError("must name a file, such as sqlite:////var/lib/frontdesk/frontdesk.sqlite3")


def failpoints(spec: str) -> None:
    """Raises ValidationError unless it has the form of failpoints. Whether there are such points, the program knows."""
    if spec and not all(_FAILPOINT.fullmatch(one) for one in spec.split(",")):
        raise ValidationError(
            "must be POINT:ACTION or POINT:ACTION:N, several with commas; leave it empty in production"
        )


def redis_address(url: str) -> None:
    """Raises ValidationError unless it is the URL of a Redis or Valkey."""
    if url and not re.match(r"redis(s|\+unix)?://", url):
        raise ValidationError("must begin with redis://, rediss:// or redis+unix://")


def web_address(url: str) -> None:
    """Raises ValidationError unless it is the address of a web server."""
    if url and not re.match(r"https?://[^/\s]+", url):
        raise ValidationError("must begin with https:// or http://")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValidationError("holds a host or port that cannot be right") from None


def hosts(words: frozenset[str]) -> None:
    """Raises ValidationError unless each word is a bare host or host:port."""
    if any(re.search(r"[/\s]", word) for word in words):
        raise ValidationError("must be hosts such as crm.lan or 10.0.0.5:8080, separated by commas, without http://")


def networks(words: frozenset[str]) -> None:
    """Raises ValidationError unless each word is a network or an address."""
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise ValidationError("must be networks such as 10.0.0.0/8, separated by commas") from error


def addresses(words: frozenset[str]) -> None:
    """Raises ValidationError unless each word looks like an e-mail address."""
    if not all(ADDRESS.fullmatch(word) for word in words):
        raise ValidationError("must be e-mail addresses, separated by commas")
