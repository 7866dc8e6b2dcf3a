"""What people see of the sandbox CRM: its records, and the switchboard for its faults."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from marshmallow import ValidationError

from sandbox_crm.faults import FAULTS, Faults, FaultsSchema, sentence_of
from sandbox_crm.house import house
from sandbox_crm.schemas import Habits, parse_json

pages = Blueprint("pages", __name__)
_SHOWN = 200  # records on the first page


@pages.after_app_request
def add_headers(response: Response) -> Response:
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'"
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@pages.get("/")
def index() -> str:
    """The records made last, and the switchboard."""
    contacts, activities = house().store.count()
    return render_template(
        "index.html",
        contacts=house().store.newest(_SHOWN),
        contact_count=contacts,
        activity_count=activities,
        faults=FAULTS,
        on=house().switchboard.on,
        calls=house().calls.summary(),
    )


@pages.post("/switchboard")
def switch() -> Response:
    """The switchboard's form: exactly the faults that were ticked, for all calls or for some of them."""
    form: dict[str, Any] = {"faults": request.form.getlist("fault"), "rate": request.form.get("rate") or "1"}
    # A number alone would switch it on, as it does for programs.
    if "refuse_phone" in form["faults"] and (phone := request.form.get("phone", "").strip()):
        form["refuse_phone"] = phone
    try:
        house().switchboard.turn_to(FaultsSchema().load(form))
    except ValidationError as error:
        abort(400, sentence_of(error))
    return _to("pages.index")


@pages.get("/contacts/<contact_id>")
def contact(contact_id: str) -> str:
    """One record with its activities."""
    found = house().store.find([contact_id]) or abort(404)
    return render_template("contact.html", contact=found[0])


@pages.post("/contacts/<contact_id>/delete")
def delete(contact_id: str) -> Response:
    """Delete a record by hand, as somebody at the clinic might."""
    house().store.archive([contact_id])
    return _to("pages.index")


@pages.post("/contacts/<contact_id>/edit")
def edit(contact_id: str) -> Response:
    """Change one property by hand. Form: `name` and `value`."""
    name, value = request.form.get("name", "").strip(), request.form.get("value", "")
    if not 1 <= len(name) <= 100:
        abort(400, "Name the property.")
    if not house().store.edit(contact_id, name, value):
        abort(404)
    return _to("pages.contact", contact_id=contact_id)


@pages.post("/contacts/<contact_id>/duplicate")
def duplicate(contact_id: str) -> Response:
    """Make a copy by hand, and go to it."""
    return _to("pages.contact", contact_id=house().store.duplicate(contact_id) or abort(404))


@pages.post("/contacts/<contact_id>/activities/<activity_id>/delete")
def delete_activity(contact_id: str, activity_id: str) -> Response:
    """Delete one activity by hand."""
    house().store.archive_activity(activity_id)
    return _to("pages.contact", contact_id=contact_id)


@pages.get("/contacts.json")
def contacts_json() -> Response:
    """All records."""
    return jsonify(contacts=house().store.newest())


@pages.delete("/contacts.json")
def clear() -> Response:
    """Forget all records and calls."""
    house().store.clear()
    house().calls.forget()
    return Response(status=204)


@pages.get("/faults")
def get_faults() -> Response:
    """What is switched on, and what there is."""
    return jsonify(_shown(house().switchboard.on))


@pages.put("/faults")
def put_faults() -> tuple[Response, int]:
    """Switch exactly these on; `{}` switches all off."""
    try:
        faults: Faults = FaultsSchema().load(parse_json(request.get_data() or b"{}"))
    except ValidationError as error:
        return jsonify(code="invalid", message=sentence_of(error)), 400
    except ValueError:
        return jsonify(code="not_json", message="Send a JSON object."), 400
    house().switchboard.turn_to(faults)
    return jsonify(_shown(faults)), 200


@pages.delete("/faults")
def no_faults() -> Response:
    """Switch all off."""
    house().switchboard.turn_to(Faults())
    return Response(status=204)


@pages.put("/house")
def put_habits() -> tuple[Response, int]:
    """`{"unique": false}`: be a CRM without unique keys."""
    try:
        house().store.unique = Habits().load(parse_json(request.get_data()))["unique"]
    except (ValidationError, ValueError):
        return jsonify(code="invalid", message='Send {"unique": true} or {"unique": false}.'), 400
    return jsonify(unique=house().store.unique), 200


@pages.get("/calls.json")
def calls_json() -> Response:
    """The API calls so far and what became of them."""
    return jsonify(house().calls.summary())


@pages.get("/healthz")
def health() -> Response:
    """Answers 200 as long as the server runs, whatever faults are on."""
    return jsonify(status="ok")


def _to(page: str, **values: str) -> Response:
    # Flask's redirect is a werkzeug response, and url_for takes its options by name too.
    return redirect(url_for(page, **values), 303)  # type: ignore[return-value,arg-type]


def _shown(faults: Faults) -> dict[str, object]:
    return {
        "faults": list(faults.faults),
        "rate": faults.rate,
        "retry_after": faults.retry_after,
        "slow_seconds": faults.slow_seconds,
        "late_seconds": faults.late_seconds,
        "refuse_phone": faults.refuse_phone,
        "seed": faults.seed,
        "known": dict(FAULTS),
    }
