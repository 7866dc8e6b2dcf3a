"""What somebody does by hand in the CRM is told by the desk within one sweep; what the CRM forgot is sent again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import select

from leads.store.models import Delivery, Drift
from tests.chaos.zygote import Zygote
from tests.programs import Programs, wait_for
from tests.web.desk import plain

PEOPLE = ("Stays", "Deleted", "Changed", "Doubled")


def _send(programs: Programs, name: str) -> None:
    form = {"site": "demo", "id": f"form-{name}", "first_name": name, "email": f"{name}@example.com", "consent": True}
    requests.post(f"{programs.url}/api/v1/consultations", json=form, timeout=30).raise_for_status()


def _states(programs: Programs) -> list[str]:
    with programs.database.read() as session:
        return list(session.scalars(select(Delivery.state)))


def _contact(programs: Programs, name: str) -> dict[str, Any]:
    return next(one for one in programs.contacts() if one["properties"]["first_name"] == name)


def _by_hand(programs: Programs, name: str, what: str, /, **form: str) -> requests.Response:
    """Press a button on the page of a record in the CRM."""
    answer = requests.post(f"{programs.crm}/contacts/{_contact(programs, name)['id']}/{what}", data=form, timeout=30)
    answer.raise_for_status()
    return answer


def _press(programs: Programs, desk: requests.Session, lead: str, button: str) -> None:
    page = desk.get(f"{programs.url}{lead}", timeout=30).text
    form = re.search(rf'<form method="post" action="([^"]+)"(?:(?!</form>).)*<button[^>]*>{button}<', page, re.DOTALL)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert form
    assert token
    desk.post(f"{programs.url}{form[1]}", data={"csrf_token": token[1]}, timeout=30).raise_for_status()


def test_the_desk_tells_what_was_done_by_hand_in_the_crm(tmp_path: Path, database_url: str, zygote: Zygote) -> None:
    with Programs(tmp_path, database_url, zygote=zygote) as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.worker()
        for name in PEOPLE:
            _send(programs, name)
        wait_for(lambda: _states(programs) == ["confirmed"] * len(PEOPLE))
        desk = programs.desk()

        def home() -> str:
            return plain(desk.get(f"{programs.url}/desk/", timeout=30).text)

        def lead(name: str) -> str:
            found = re.search(
                rf'href="(/desk/leads/[^"#]+)">{name}<', desk.get(f"{programs.url}/desk/", timeout=30).text
            )
            assert found
            return found[1]

        assert "Every enquiry is in the CRM." in home()

        _by_hand(programs, "Deleted", "delete")
        _by_hand(programs, "Changed", "edit", name="phone", value="+1 201 555 0199")
        _by_hand(programs, "Changed", "edit", name="email", value="new@example.com")
        _by_hand(programs, "Doubled", "duplicate")
        assert "4" in programs.frontdesk("connection", "check-all", "Sandbox CRM").stdout

        wait_for(lambda: "1 person is in the CRM more than once" in home())
        told = home()
        assert "1 enquiry was deleted in the CRM, and 1 person is in the CRM more than once." in told
        assert "Deleted was deleted in “Sandbox CRM”" in told
        assert "Changed was changed (email) in “Sandbox CRM”" in told, "a field that we did not send is none of ours"
        assert "Doubled is there more than once in “Sandbox CRM”" in told
        assert "Stays was" not in told

        _press(programs, desk, lead("Deleted"), "Send again")
        wait_for(lambda: "Deleted was deleted" not in home() and _states(programs) == ["confirmed"] * len(PEOPLE))
        assert len([one for one in programs.contacts() if one["properties"]["first_name"] == "Deleted"]) == 1
        assert (
            "It was no longer in the CRM for a while." in desk.get(f"{programs.url}{lead('Deleted')}", timeout=30).text
        )

        _press(programs, desk, lead("Changed"), "That is right so")
        _press(programs, desk, lead("Doubled"), "That is right so")
        assert "Every enquiry is in the CRM." in home()
        programs.frontdesk("connection", "check-all", "Sandbox CRM")
        wait_for(lambda: not _unchecked(programs))
        assert "Every enquiry is in the CRM." in home(), "what a person has said is right is told again"
        assert "Changed in the CRM since" not in home()


def _unchecked(programs: Programs) -> int:
    """How many are to be looked at this minute."""
    with programs.database.read() as session:
        now = programs.database.now(session)
        return len(session.scalars(select(Delivery.id).where(Delivery.check_at <= now)).all())


def test_what_the_crm_took_and_did_not_keep_is_sent_again_and_told(
    tmp_path: Path, database_url: str, zygote: Zygote
) -> None:
    with Programs(tmp_path, database_url, zygote=zygote) as programs:
        programs.sandbox()
        programs.connect()
        programs.web()
        programs.faults(faults=["accept_and_forget"])
        programs.worker()
        _send(programs, "Forgotten")

        def forgotten() -> Drift | None:
            with programs.database.read() as session:
                return session.scalars(select(Drift)).one_or_none()

        assert wait_for(forgotten).kind == "never_stored"
        programs.faults()
        wait_for(lambda: _states(programs) == ["confirmed"], 60)
        assert len(programs.activities()) == 1
        desk = programs.desk()
        page = desk.get(f"{programs.url}/desk/", timeout=30).text
        assert "Every enquiry is in the CRM." in page
        lead = re.search(r'href="(/desk/leads/[^"#]+)">Forgotten<', page)
        assert lead
        told = plain(desk.get(f"{programs.url}{lead[1]}", timeout=30).text)
        assert "The CRM had said that it took this, and did not keep it. We sent it again." in told


def test_nothing_is_there_twice_in_a_crm_without_keys_that_writes_late(
    tmp_path: Path, database_url: str, zygote: Zygote
) -> None:
    """Tier B: looked for, once even a late write must show, before it is sent again."""
    with Programs(tmp_path, database_url, zygote=zygote, crm_timeout="0.5") as programs:
        programs.sandbox("--no-unique")
        programs.connect(tier="B", settle="2")
        programs.web()
        programs.worker()
        programs.faults(faults=["late_write"], rate=0.5, late_seconds=1.5, seed=3)
        for number in range(12):
            _send(programs, f"Late{number}")
        wait_for(lambda: _states(programs) == ["confirmed"] * 12, 120)
        assert len(programs.contacts()) == 12, "a person is there twice"
        assert len(programs.activities()) == 12
