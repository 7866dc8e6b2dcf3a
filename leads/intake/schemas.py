"""What a valid consultation request and a valid call click are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate

from leads.decode import MAX_TEXT
from leads.fields import LooseString, PersonSchema, as_typed, text_field
from leads.intake.attribution import ATTRIBUTION, is_click_id, path_only, without_clicks

MAX_ID = 100  # characters of an id that the browser made


class CutText(LooseString):
    """Text that no visitor could mend, or of a tap, whose browser does not wait for our answer: cut, never refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        return _as_text(value).strip()[: self.limit]


class PageAddress(LooseString):
    """An address without what follows its path, which can name a patient or an illness; cut, never refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        return path_only(_as_text(value))[: self.limit]


class Attribution(fields.Dict):
    """Where the visitor came from: what is listed of it, and no click id or search words."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValidationError("Please send an object of names and texts.")
        return _came_from(value)


def _identifier(help_text: str, *, required: bool) -> fields.String:
    wanted = f"Please send a text of 1 to {MAX_ID} characters."
    return fields.String(
        required=required,
        validate=validate.Length(1, MAX_ID, error=wanted),
        error_messages={"required": wanted, "invalid": wanted},
        metadata={"description": help_text},
    )


class _Intake(Schema):
    class Meta:
        unknown = INCLUDE

    site = _identifier("Public key of the site.", required=True)
    id = _identifier("Made by the browser once per submit, the same on every retry: it counts once.", required=True)
    visitor_id = _identifier("The browser's own visitor id; joins call clicks with a later form.", required=False)
    page = PageAddress(2000, metadata={"description": "Address of the page; query and fragment are dropped."})

    @pre_load
    def _drop_empty(self, data: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None and value != ""}

    @post_load(pass_original=True)
    def _tidy(self, data: dict[str, Any], sent: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        extra = {name: data.pop(name) for name in list(data) if name not in self.fields}
        if extra:
            _sort_out(data, extra)
        if data.get("phone"):  # a call click has none
            data["phone_typed"] = as_typed(sent["phone"])
        return data


def _sort_out(data: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """A plain form has no objects: where its visitor came from stands flat among its fields."""
    if came := _came_from(extra):
        data["attribution"] = came | data.get("attribution", {})
    rest = {name: value for name, value in extra.items() if name not in came and not is_click_id(name)}
    if rest:
        data["extra"] = {name: _as_text(without_clicks(value)) for name, value in rest.items()}


def _came_from(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: path_only(_as_text(given[name]))[:200] for name in ATTRIBUTION if given.get(name)}


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:MAX_TEXT]


class ConsultationSchema(PersonSchema, _Intake):
    """A visitor asks to be contacted."""

    preferred_time = text_field(200, "When the visitor likes to be called.")
    preferred_contact = text_field(60, "How the visitor likes to be contacted.")
    service = text_field(200, "The treatment asked for.")
    message = text_field(MAX_TEXT, "Free text. It goes to a CRM only where a connection maps it.")
    consent = fields.Boolean(
        load_default=False,
        error_messages={"invalid": "Please send true or false."},
        metadata={
            "description": "Whether the visitor agreed to the site's consent wording. For true may stand 1, or yes, "
            "on, true or 1 as text; for false 0, or no, off, false or 0 as text. Anything else, as a list, is refused."
        },
    )
    consent_version = CutText(
        20, metadata={"description": "Which of the site's consent wordings was shown; without it, the one valid now."}
    )
    attribution = Attribution(metadata={"description": "Of " + ", ".join(ATTRIBUTION) + "."})


class CallClickSchema(_Intake):
    """A visitor tapped a phone link."""

    tel = CutText(60, metadata={"description": "The number that was tapped, as the link has it."})
    label = CutText(100, metadata={"description": "The text of the link."})


@cache
def schema_of(kind: str, region: str) -> _Intake:
    """What an event of this kind must be. region: see PersonSchema. Made once: that costs more than loading."""
    return ConsultationSchema(region) if kind == "consultation_request" else CallClickSchema()
