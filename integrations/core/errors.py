"""What can go wrong with a write to a CRM, named by what happens next.

A connector raises one of these (for the whole call) or returns one (for one record of a batch). The class
alone decides what the outbox does; `code` is short and stable, for machines; `sentence` is for staff. Neither
ever holds personal data, a secret, or the CRM's answer in full.
"""

# ruff: noqa: N818 - the names say what happens next, and read as verdicts
from __future__ import annotations

_WORDS = {"email": "e-mail address", "phone": "phone number", "full_name": "name"}


class DeliveryError(Exception):
    """One write did not succeed.

    code: short stable word such as `timeout` or `bad_key`. sentence: plain words for staff.
    status: the HTTP status, if there was one. field: our name of the field at fault, if one is.
    """

    def __init__(self, code: str, sentence: str, *, status: int | None = None, field: str | None = None) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.status = status
        self.field = field


class TryLater(DeliveryError):
    """Nothing is wrong with the record: it is tried again on the schedule, at the cost of one attempt."""


class Throttled(DeliveryError):
    """The CRM asks us to slow down: the whole connection waits, and no attempt is spent."""

    def __init__(
        self, code: str, sentence: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        """retry_after: seconds the CRM asks us to wait; None when it does not say."""
        super().__init__(code, sentence, status=status)
        self.retry_after = retry_after


class Misconfigured(DeliveryError):
    """Every record would fail alike (key, scope, property): the connection pauses, no attempt is spent."""


class Refused(DeliveryError):
    """The CRM will not take this record as it is: a person has to look at it."""


class Unknown(DeliveryError):
    """It may have been written (the answer never came): it is looked up before it is sent again."""


def not_accepted(crm: str, field: str | None, *, status: int | None, code: str = "invalid") -> Refused:
    """The CRM by this name does not accept one of our fields, or, where it names none of them, the record."""
    return Refused(code, f"{crm} does not accept {in_words(field)}.", status=status, field=field)


def no_access(crm: str, records: str) -> Refused:
    """The user that we work as may change other records, but not this one. records: what the CRM calls them."""
    sentence = f"The user may not change this record in {crm}. Allow it to edit all {records}."
    return Refused("no_access", sentence, status=403)


def in_words(field: str | None) -> str:
    """`this phone number`, by our name of a field; `this record` where it is none in particular."""
    return f"this {_WORDS.get(field, field.replace('_', ' '))}" if field else "this record"
