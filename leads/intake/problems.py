"""Errors as `application/problem+json` (RFC 9457), naming each field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from flask import Response

from leads.languages import ENGLISH, translated


def problem(
    status: int, title: str, detail: str = "", errors: Mapping[str, Any] | None = None, language: str = ENGLISH
) -> Response:
    """An answer that says what is wrong. errors: field → messages, as marshmallow gives them. language: of the website,
    since its pages may show visitors what is wrong with a field."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = [
            {"field": name, "detail": translated(text, language)}
            for name, messages in errors.items()
            for text in flat(messages)
        ]
    response = Response(json.dumps(body), status=status, content_type="application/problem+json")
    if status == 503:
        response.headers["Retry-After"] = "10"
    return response


def flat(messages: Any) -> Iterable[str]:
    """marshmallow's nested messages, one after the other."""
    if isinstance(messages, Mapping):
        for inner in messages.values():
            yield from flat(inner)
    elif isinstance(messages, list | tuple):
        for inner in messages:
            yield from flat(inner)
    else:
        yield messages
