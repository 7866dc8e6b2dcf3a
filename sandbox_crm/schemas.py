"""What the API takes. Unknown properties are welcome; anything else unknown is refused."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

MOST = 100  # records per call
NAME = validate.Length(1, 100)
REQUIRED_TEXT = validate.Length(1, 255)


def parse_json(raw: bytes) -> Any:
    """Read a body. Raises ValueError for what no store or page could hold: too deep, NaN, half a character."""
    try:
        data = json.loads(raw)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return data


def _plain(value: object) -> None:
    if isinstance(value, dict | list):
        raise ValidationError("Give a text, a number, true, false or null.")


def _properties() -> fields.Dict:
    value = fields.Raw(allow_none=True, validate=_plain)
    return fields.Dict(keys=fields.String(validate=NAME), values=value, load_default=dict)


def _inputs(record: type[Schema]) -> fields.List[Any]:
    return fields.List(fields.Nested(record), required=True, validate=validate.Length(1, MOST))


def _ids(**options: Any) -> fields.List[Any]:
    return fields.List(fields.String(validate=REQUIRED_TEXT), validate=validate.Length(max=MOST), **options)


class Contact(Schema):
    """A contact to create or update: by its id where one is given, by its external id otherwise."""

    external_id = fields.String(required=True, validate=REQUIRED_TEXT)
    id = fields.String(allow_none=True)
    properties = _properties()


class Activity(Schema):
    """Something that happened with a contact, to create or update by its external id."""

    external_id = fields.String(required=True, validate=REQUIRED_TEXT)
    contact_id = fields.String(required=True, validate=REQUIRED_TEXT)
    kind = fields.String(required=True, validate=REQUIRED_TEXT)
    occurred_at = fields.String(required=True, validate=REQUIRED_TEXT)
    title = fields.String(required=True, validate=REQUIRED_TEXT)
    properties = _properties()


class Contacts(Schema):
    """The body of `POST /v1/contacts/batch/upsert`."""

    inputs = _inputs(Contact)


class Activities(Schema):
    """The body of `POST /v1/activities/batch/upsert`."""

    inputs = _inputs(Activity)


class Search(Schema):
    """The body of `POST /v1/search`."""

    ids = _ids(load_default=list)
    external_ids = _ids(load_default=list)
    emails = _ids(load_default=list)


class Habits(Schema):
    """The body of `PUT /house`. unique: see `store.Store`."""

    unique = fields.Boolean(required=True)


class Archive(Schema):
    """The body of `POST /v1/contacts/batch/archive`."""

    ids = _ids(required=True)
