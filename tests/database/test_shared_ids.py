"""A page that gives one id to all its visitors: nobody's enquiry is lost, and somebody is told."""

from __future__ import annotations

from sqlalchemy import func, select

from leads.store.models import Event, Resubmission, Site
from leads.store.queries.lists import sites
from leads.store.session import Database
from leads.store.shared_ids import sites_that_share
from leads.store.vault import Vault
from tests.database.lanes import Clock
from tests.factory import make_site, send


def _sharing(database: Database, clock: Clock) -> list[str]:
    with database.read() as session:
        return [site.key for site in sites_that_share(session, sites(session), clock())]


def test_each_visitor_is_an_enquiry_and_from_the_third_on_the_website_is_named(
    timed: Database, vault: Vault, site: Site, clock: Clock
) -> None:
    make_site(timed, "other")

    def sent(name: str, **more: str) -> None:
        send(timed, vault, site, client_id="1", email=f"{name}@example.com", **more)

    for name in ("ann", "ben", "ben", "ann"):  # two at one computer, one of them twice
        sent(name)
    assert _sharing(timed, clock) == []
    sent("cora")
    assert _sharing(timed, clock) == ["demo"]
    sent("cora", message="And on Tuesdays?")
    with timed.read() as session:
        kept = [session.scalar(select(func.count()).select_from(model)) for model in (Event, Resubmission)]
    assert kept == [3, 1]
    clock.forward(days=6)
    sent("dora")
    clock.forward(days=6)
    assert _sharing(timed, clock) == ["demo"]
    clock.forward(days=2)
    assert _sharing(timed, clock) == []
