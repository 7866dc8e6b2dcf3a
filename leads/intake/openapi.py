"""The description of the public API (OpenAPI 3.1), drawn from the schemas."""

from __future__ import annotations

from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from leads.fields import MOST_CHOICES, LooseString
from leads.intake.schemas import CallClickSchema, ConsultationSchema

_EXAMPLES = {
    "Consultation": {
        "site": "demo",
        "id": "5b0c8a52-0f5e-4a3e-9d0b-1b6f0f6a7c11",
        "visitor_id": "v-83b1",
        "first_name": "Jane",
        "last_name": "Doe",
        "email": "jane@example.com",
        "phone": "(201) 555-0123",
        "preferred_time": "after 5 pm",
        "consent": True,
        "page": "https://clinic.example/implants",
    },
    "CallClick": {
        "site": "demo",
        "id": "0d3f2c3e-6a59-4f0e-8d5a-52d6f0a5b7aa",
        "visitor_id": "v-83b1",
        "tel": "+12015550100",
        "label": "Call Us",
        "page": "https://clinic.example/implants",
    },
}
_PROBLEM = {
    "type": "object",
    "required": ["title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_RECEIPT = {
    "type": "object",
    "required": ["id", "reference", "received_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "reference": {
            "type": "string",
            "description": "A short code that the visitor can say on the phone. Each request has one of its own, "
            "whoever it is of; sent again with the same id, it has the same.",
        },
        "received_at": {"type": "string", "format": "date-time"},
    },
}
_ERRORS = {
    "400": "The body is not a JSON object.",
    "404": "There is no such site.",
    "410": "The site is closed: it takes no more enquiries. Nothing was stored; do not send it again.",
    "413": "The body is larger than 64 KiB.",
    "415": "The body is no JSON, and its content type says so.",
    "422": "A field is wrong; the list of errors names each and says what to send.",
    "503": "It could not be stored; send it again, with the same id.",
}


@cache
def document() -> dict[str, Any]:
    """The whole OpenAPI document."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        "Frontdesk",
        "1",
        "3.1.0",
        plugins=[plugin],
        info={
            "description": "Takes what a visitor of a clinic's website does to be contacted. Stored before it is "
            "answered; the same id again gives the same answer and counts once. Where a text is asked for, a number or "
            f"a list of up to {MOST_CHOICES} texts may stand as well: they are joined by commas."
        },
    )
    assert plugin.converter is not None  # noqa: S101 - APISpec has just set it
    # apispec has no types here.
    plugin.converter.map_to_openapi_type(LooseString, "string", None)  # type: ignore[no-untyped-call]
    spec.components.schema("Problem", _PROBLEM)
    spec.components.schema("Receipt", _RECEIPT)
    _add(spec, "/api/v1/consultations", "Consultation", ConsultationSchema(), "Request a consultation")
    _add(spec, "/api/v1/call-clicks", "CallClick", CallClickSchema(), "Note a tap on a phone link")
    return spec.to_dict()


def _add(spec: APISpec, path: str, name: str, schema: Any, summary: str) -> None:
    spec.components.schema(name, schema=schema)
    content = {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": _EXAMPLES[name]}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[str, Any] = {code: {"description": text, "content": problem} for code, text in _ERRORS.items()}
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    responses["201"] = {"description": "Stored. A repeat of the same id gets the same answer.", "content": receipt}
    body = {"required": True, "content": {"application/json": content, "text/plain": content}}
    spec.path(
        path,
        operations={
            "post": {
                "operationId": name[0].lower() + name[1:],
                "summary": summary,
                "requestBody": body,
                "responses": dict(sorted(responses.items())),
            }
        },
    )
