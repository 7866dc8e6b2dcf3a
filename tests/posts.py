"""What browsers of a busy clinic send: the bodies of an enquiry and of a tap on the phone number."""

from __future__ import annotations

from typing import Any


def enquiry(number: int, person: int) -> dict[str, Any]:
    """number: of the form. person: of whoever fills it in."""
    return {
        "site": "demo",
        "id": f"form-{number}",
        "visitor_id": f"visitor-{person}",
        "first_name": f"First{person}",
        "last_name": f"Last{person}",
        "email": email_of(person),
        "phone": f"+1201555{person:04}",
        "consent": True,
    }


def call_click(number: int, visitor: str) -> dict[str, Any]:
    """visitor: the browser's own id."""
    return {"site": "demo", "id": f"click-{number}", "visitor_id": visitor, "tel": "+12015550100"}


def email_of(person: int) -> str:
    """A person's address."""
    return f"person{person}@example.com"
