"""What visitors send in the bench: an enquiry of about 600 bytes, each from another person and another address."""

from __future__ import annotations

from urllib.parse import urlencode

from bench.load import Request, post

_ENQUIRY = (
    b'{"site": "bench", "id": "%(run)s-%(number)d", "visitor_id": "visitor-%(run)s-%(number)d", "first_name": "Maria", '
    b'"last_name": "Example%(number)d", "email": "maria.%(run)s.%(number)d@example.com", "phone": "+1201%(line)07d", '
    b'"preferred_time": "weekday mornings", "preferred_contact": "phone", "service": "Dental implants", '
    b'"message": "I would like to know whether an implant is possible after a root canal, and what it would cost me.", '
    b'"page": "https://clinic.example/implants", "consent": true, '
    b'"attribution": {"utm_source": "newsletter", "utm_campaign": "spring", "landing": "https://clinic.example/"}}'
)
_FORM = {
    "first_name": "Maria",
    "preferred_time": "weekday mornings",
    "message": "I would like to know whether an implant is possible, and what it would cost.",
    "consent": "true",
}


def enquiries(run: str, path: str = "/api/v1/consultations") -> Request:
    """Enquiries as JSON. run: what sets the ids of this run apart from those of others."""
    mark = run.encode()

    def body(number: int) -> bytes:
        return _ENQUIRY % {b"run": mark, b"number": number, b"line": _line(number)}

    return post(path, body, "application/json", _from)


def forms(run: str) -> Request:
    """The same through the plain form."""
    fixed = urlencode(_FORM).encode()

    def body(number: int) -> bytes:
        own = b"&id=%b-form-%d&last_name=Example%d&email=maria.form.%b.%d%%40example.com&phone=%%2B1201%07d"
        return fixed + own % (run.encode(), number, number, run.encode(), number, _line(number))

    return post("/f/bench/consultation", body, "application/x-www-form-urlencoded", _from)


def spam(run: str) -> Request:
    """Forms filled in by a robot: the field that people do not see as well."""
    fixed = urlencode(_FORM | {"website": "https://spam.example/"}).encode()

    def body(number: int) -> bytes:
        return fixed + b"&id=%b-%d&last_name=Robot%d&email=robot.%d%%40example.com" % (
            run.encode(),
            number,
            number,
            number,
        )

    return post("/f/bench/consultation", body, "application/x-www-form-urlencoded", _from_anywhere)


def _line(number: int) -> int:
    return 2_000_000 + number % 7_000_000  # a valid American number


def _from_anywhere(number: int) -> bytes:
    return b"X-Forwarded-For: 172.%d.%d.%d\r\n" % (16 + (number >> 16 & 15), number >> 8 & 255, number & 255)


def _from(number: int) -> bytes:
    return b"X-Forwarded-For: 10.%d.%d.%d\r\n" % (number >> 16 & 255, number >> 8 & 255, number & 255)
