"""The description of the API is valid OpenAPI 3.1 and says what the code does."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from leads.intake.openapi import document
from leads.intake.schemas import CallClickSchema, ConsultationSchema

SCHEMAS = {"Consultation": ConsultationSchema(), "CallClick": CallClickSchema()}


def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["components"]["schemas"][name]
    return found


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(document()).iter_errors()) == []
    assert document()["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described(name: str) -> None:
    described = schema_of(name)["properties"]
    assert set(described) == set(SCHEMAS[name].fields)
    assert all(field.get("description") and field.get("type") for field in described.values())


@pytest.mark.parametrize(
    ("path", "name"), [("/api/v1/consultations", "Consultation"), ("/api/v1/call-clicks", "CallClick")]
)
def test_the_example_is_what_is_described_and_what_is_taken(path: str, name: str) -> None:
    content = document()["paths"][path]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "text/plain"}
    example = content["application/json"]["example"]
    assert list(OAS31Validator(schema_of(name)).iter_errors(example)) == []
    assert SCHEMAS[name].load(example)["id"] == example["id"]
