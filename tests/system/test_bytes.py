"""No personal data and no secret stands readable in any byte that Frontdesk writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyotp
import pytest
import requests
from sqlalchemy import select

from leads.store.models import Delivery
from tests.programs import KEY, PASSWORD, Programs, wait_for

MARKED = {
    "first_name": "Xanthippe",
    "last_name": "Quillfeather",
    "email": "xanthippe.q@canary-mail.example",
    "phone": "(201) 555-0187",
    "preferred_time": "after the canary sings",
    "message": "My canaryitis is back",
}
NEEDLES = [*MARKED.values(), "+12015550187", "2015550187", "canary-visitor-77", KEY, "canary-page"]


def _send(programs: Programs) -> None:
    body = {**MARKED, "id": "one", "visitor_id": "canary-visitor-77", "page": "https://clinic.example/canary-page"}
    api = f"{programs.url}/api/v1/consultations"
    assert requests.post(api, json={**body, "site": "demo", "consent": True}, timeout=30).status_code == 201
    assert requests.post(api, json={**body, "site": "demo", "id": "two"}, timeout=30).status_code == 201
    again = {**body, "site": "demo", "consent": True, "message": "My canaryitis is worse"}
    assert requests.post(api, json=again, timeout=30).status_code == 201
    broken = requests.post(api, data='{"site": "demo", "first_name": "Xanthippe", ', timeout=30)
    assert broken.status_code in (400, 415)
    wrong = requests.post(api, json={**body, "site": "demo", "id": "three", "email": "Xanthippe"}, timeout=30)
    assert wrong.status_code == 422
    form = requests.post(f"{programs.url}/f/demo/consultation", data={**MARKED, "consent": "yes"}, timeout=30)
    assert form.status_code == 200


def _states(programs: Programs) -> list[str]:
    with programs.database.read() as session:
        return sorted(session.scalars(select(Delivery.state)))


def _second_factor(programs: Programs) -> list[str]:
    """Somebody sets one up, mistypes and signs in with a recovery code. Returns what is to stand nowhere."""
    browser, desk = programs.desk(), f"{programs.url}/desk"

    def post(path: str, **form: str) -> str:
        page = browser.get(f"{desk}/sign-in", timeout=30).text
        form["csrf_token"] = re.findall(r'name="csrf_token" value="([^"]+)"', page)[-1]
        return browser.post(f"{desk}/{path}", data=form, timeout=30).text

    shown = post("account/second-factor", what="on", password=PASSWORD)
    key = re.findall(r'class="key"><code>([^<]+)<', shown)[0]
    secret = key.replace(" ", "")
    post("account/second-factor/confirm", code="canary-code")
    codes = re.findall(r"<li><code>([^<]+)<", post("account/second-factor/confirm", code=pyotp.TOTP(secret).now()))
    assert len(codes) == 10
    post("sign-out")
    post("sign-in", name="reception", password=PASSWORD)
    post("sign-in/code", code="canary-code")
    assert "You used a recovery code" in post("sign-in/code", code=codes[0])
    return [key, secret, *codes, *(code.replace(" ", "") for code in codes), "canary-code", PASSWORD]


def _readable(folder: Path, needles: list[str]) -> list[tuple[str, str]]:
    """Which needle stands in which file, in any of the ways that text is written."""
    found = []
    for file in (path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes().lower()
        for needle in needles:
            ways: list[bytes] = [needle.encode(), needle.encode("utf-16-le"), needle.encode("utf-16-be")]
            found += [(file.name, needle) for way in ways if way.lower() in content]
    return found


def test_no_marked_value_is_in_any_file(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> None:
    with Programs(tmp_path, database_url, log_level="debug") as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        programs.faults(faults=["garbage"])
        _send(programs)
        needles = NEEDLES + _second_factor(programs)
        wait_for(lambda: "unreadable" in (tmp_path / "programs.log").read_text())
        programs.faults()
        wait_for(lambda: _states(programs) == ["confirmed", "confirmed", "held"], 30)
        doctor = programs.frontdesk("doctor")
        assert not any(needle in doctor.stdout + doctor.stderr for needle in needles)
        assert any(contact["properties"].get("email") == MARKED["email"] for contact in programs.contacts())
        assert _readable(tmp_path, needles) == []
        if not database_url.startswith("sqlite"):
            assert _readable(_data_of(request), needles) == []


def _data_of(request: pytest.FixtureRequest) -> Path:
    server: Any = request.getfixturevalue("postgres")
    return Path(server.pgdata)
