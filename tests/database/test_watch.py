"""The watchman and the notices he sends, on a clock that the test moves, to a mail server on a real socket."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from leads.store import backup, tasks
from leads.store.alerts import Condition, open_alerts, settle
from leads.store.holds import FOREIGN_PAGE
from leads.store.models import (
    Alert,
    CanaryRun,
    Connection,
    Delivery,
    Event,
    Resubmission,
    Site,
    Task,
    Unreadable,
    Worker,
)
from leads.store.session import Database
from leads.store.vault import Vault
from leads.upkeep.alerts import KINDS
from leads.upkeep.mail import Mail
from leads.upkeep.notice import Notice, NoticeError, PartlyError, UnreachableError
from leads.upkeep.notices import Notifier
from leads.upkeep.watch import Watchman
from leads.upkeep.wording import OVER
from tests.database.lanes import Clock
from tests.factory import make_connection, make_site, make_unreadable, send, send_many
from tests.mailserver import MailServer
from tests.programs import wait_for

NEEDLES = ("Needleworth", "needle@example.com", "+12015550177", "2015550177", "my needle hurts", "needle-page")
NEEDLE = {
    "first_name": "Nadia",
    "last_name": "Needleworth",
    "email": "needle@example.com",
    "phone": "+12015550177",
    "message": "my needle hurts",
    "page": "https://clinic.example/needle-page",
}


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as opened:
        yield opened


class Watch:
    """Time passes, with a worker that beats and a watchman who looks every half minute."""

    def __init__(self, database: Database, clock: Clock, server: MailServer, digest_at: int | None = None) -> None:
        self.database, self.clock, self.server = database, clock, server
        mail = Mail("127.0.0.1", server.port, "none", "", "", "frontdesk@clinic.example", ["ops@clinic.example"])
        self.man = Watchman(database, Notifier([mail], "https://leads.example", digest_at), timedelta(minutes=30))
        self.worker = True

    def passes(self, minutes: float, every: float = 0.5) -> None:
        for _ in range(int(minutes / every)):
            self.clock.forward(minutes=every)
            if self.worker:
                self.beat()
            self.man.round()

    def beat(self) -> None:
        with self.database.write() as session:
            if worker := session.get(Worker, "w"):
                worker.seen_at = self.clock()
            else:
                session.add(Worker(id="w", started_at=self.clock(), seen_at=self.clock()))

    @property
    def mails(self) -> list[str]:
        """What arrived: subject and text of each."""
        return [f"{mail['Subject']}\n{mail.get_content()}".replace("\r\n", "\n") for mail in self.server.mails]

    def open(self) -> list[str]:
        with self.database.read() as session:
            return [alert.kind for alert in open_alerts(session)]


@pytest.fixture
def watch(timed: Database, clock: Clock, server: MailServer, connection: Connection) -> Watch:
    return Watch(timed, clock, server)


@pytest.fixture
def change(timed: Database, clock: Clock) -> Callable[..., None]:
    """Puts the connection into a state, as of now."""

    def to(state: str, sentence: str | None = None) -> None:
        with timed.write() as session:
            session.execute(update(Connection).values(state=state, sentence=sentence, state_since=clock()))

    return to


WRONG_KEY = "The CRM does not accept the key (status 401)."


def test_all_is_well_and_nobody_is_told(watch: Watch, timed: Database, vault: Vault, site: Site) -> None:
    send(timed, vault, site, email="jane@example.com")
    watch.passes(20, every=2)
    assert (watch.mails, watch.open()) == ([], [])


def test_a_thousand_enquiries_behind_a_wrong_key_make_one_notice_and_one_all_clear(
    watch: Watch, timed: Database, vault: Vault, site: Site, connection: Connection, change: Callable[..., None]
) -> None:
    change("failing", WRONG_KEY)
    send_many(timed, vault, site, [watch.clock()] * 1000, connection, state="waiting")
    watch.passes(150, every=3)
    assert len(watch.mails) == 1
    assert watch.mails[0].startswith("Frontdesk, Sunrise: 1 thing needs attention\n")
    assert f"“Sandbox CRM” (Sunrise) has a problem: {WRONG_KEY}" in watch.mails[0]
    assert "Since 2 Mar, 04:03 EST." in watch.mails[0]
    assert "https://leads.example/desk/" in watch.mails[0]
    change("working")
    watch.passes(10)  # they are being sent
    with timed.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    watch.passes(120, every=5)
    assert len(watch.mails) == 2
    subject, over, _ = watch.mails[1].split("\n", 2)
    assert subject == "Frontdesk, Sunrise: it is over"
    assert over == "Over since 2 Mar, 06:30 EST: “Sandbox CRM” (Sunrise): it did not work."


def test_copies_that_are_no_longer_made_are_told_until_the_next(watch: Watch, timed: Database) -> None:
    def copied() -> None:
        with timed.write() as session:
            tasks.done(session, backup.TASK, watch.clock())

    watch.passes(3 * 24 * 60, every=60)
    assert watch.open() == [], "whoever never made one here may make them in another way"
    copied()
    watch.passes(2 * 24 * 60, every=60)
    assert (watch.mails, watch.open()) == ([], [])
    watch.passes(120, every=60)
    assert watch.open() == ["backup"]
    [mail] = watch.mails
    assert "The last copy of the database is 2 days old. Make one each night: frontdesk db backup FILE" in mail
    copied()
    watch.passes(120, every=60)
    assert watch.open() == []
    assert "Frontdesk, Sunrise: it is over" in watch.mails[1]


def test_what_is_over_in_a_moment_is_not_told(watch: Watch, change: Callable[..., None]) -> None:
    for _ in range(4):
        change("failing", "The CRM is not working just now.")
        watch.passes(0.5)
        change("working")
        watch.passes(5)
    assert watch.mails == []


def test_a_fault_that_comes_and_goes_is_one_fault(watch: Watch, change: Callable[..., None], timed: Database) -> None:
    for _ in range(6):
        change("failing", "The CRM is not working just now.")
        watch.passes(2)
        change("working")
        watch.passes(0.5)
    assert len(watch.mails) == 1
    with timed.read() as session:
        assert len(session.scalars(select(Alert)).all()) == 1


def test_at_most_one_beginning_an_hour_is_told_of_a_connection(watch: Watch, change: Callable[..., None]) -> None:
    change("failing", WRONG_KEY)
    watch.passes(5)
    change("working")
    watch.passes(5)
    assert len(watch.mails) == 2
    change("failing", WRONG_KEY)
    watch.passes(45, every=3)
    assert len(watch.mails) == 2
    watch.passes(15, every=1)
    assert len(watch.mails) == 3, "it is told once the hour has passed, as it has not gone away"


def test_a_rejected_key_is_told_within_minutes_whatever_was_told_before(
    watch: Watch, timed: Database, vault: Vault, site: Site, change: Callable[..., None]
) -> None:
    send(timed, vault, site, email="nora@example.com", consent=False)
    watch.passes(5)
    change("failing", WRONG_KEY)
    watch.passes(5)
    sent = send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.event_id == sent.event_id).values(state="refused"))
    watch.passes(5)
    wanted = ["before “Sandbox CRM” (Sunrise) gets it", WRONG_KEY, "“Sandbox CRM” (Sunrise) did not take it"]
    assert [text in mail for text, mail in zip(wanted, watch.mails, strict=True)] == [True] * 3


def test_a_rejected_key_is_told_within_minutes_of_an_outage(watch: Watch, change: Callable[..., None]) -> None:
    for sentence in ("The CRM is not working just now.", WRONG_KEY):
        change("failing", sentence)
        watch.passes(5)
        assert sentence in watch.mails[-1]
        change("working")
        watch.passes(5)
    change("failing", "The CRM is not working just now.")
    watch.passes(5)
    assert len(watch.mails) == 4, "that was told before"


def test_who_reads_that_it_is_over_reads_what_is_not(
    watch: Watch, timed: Database, vault: Vault, site: Site, change: Callable[..., None]
) -> None:
    send(timed, vault, site, email="nora@example.com", consent=False)
    send(timed, vault, make_site(timed, "other", "Sunset"), email="jane@example.com")
    watch.passes(40, every=1)
    change("failing", WRONG_KEY)
    watch.passes(5)
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "held").values(state="handled"))
    watch.passes(5)
    assert watch.mails[-1].startswith("Frontdesk, Sunrise: it is over, but 1 thing still needs attention\n")
    still = f"What is still wrong:\n- “Sandbox CRM” (Sunrise) has a problem: {WRONG_KEY}"
    assert still in watch.mails[-1]
    assert "Sunset" not in watch.mails[-1], "that is another website's"
    watch.worker = False
    watch.passes(5)
    change("working")
    watch.passes(5)
    assert "What is still wrong:\n- The sync is not running" in watch.mails[-1]
    watch.worker = True
    watch.passes(5)
    assert "Frontdesk: it is over, but 1 thing still needs attention\n" in watch.mails[-1]
    assert "Sunset" in watch.mails[-1], "of what concerns all websites everything is"


def test_of_several_websites_the_one_that_all_is_about_is_named(
    watch: Watch, timed: Database, change: Callable[..., None]
) -> None:
    other = make_site(timed, "lakeside", name="Lakeside")
    change("failing", WRONG_KEY)
    watch.passes(5)
    make_unreadable(timed, other, of_plugin=True)
    watch.passes(5)
    watch.worker = False
    watch.passes(5)
    change("working")
    watch.worker = True
    with timed.write() as session:
        session.execute(update(Unreadable).values(seen_at=watch.clock()))
    watch.passes(5)
    assert [mail.split("\n")[0] for mail in watch.mails] == [
        "Frontdesk, Sunrise: 1 thing needs attention",
        "Frontdesk, Lakeside: 1 thing needs attention",
        "Frontdesk: 1 thing needs attention",
        "Frontdesk: 3 things are over",
    ]
    over = [line.partition(" EST: ")[2] for line in watch.mails[-1].split("\n") if line.startswith("Over")]
    assert sorted(over) == [
        "Lakeside: messages could not be understood.",
        "the sync was not running.",
        "“Sandbox CRM” (Sunrise): it did not work.",
    ]


def test_there_are_words_for_the_end_of_every_kind_of_alert() -> None:
    assert set(OVER) == {*KINDS, "mail"}


def test_one_that_waits_too_long_is_told(
    watch: Watch, timed: Database, vault: Vault, site: Site, change: Callable[..., None]
) -> None:
    watch.passes(2)
    change("working", "The CRM asks us to slow down.")
    send(timed, vault, site, email="jane@example.com")
    watch.passes(29, every=1)
    assert watch.mails == []
    watch.passes(5)
    waits = "1 enquiry waits for “Sandbox CRM” (Sunrise), the first for 31 minutes. The CRM asks us to slow down."
    assert waits in watch.mails[0]
    with timed.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    watch.passes(5)
    assert len(watch.mails) == 2
    assert "over" in watch.mails[1]


def test_what_was_late_is_not_over_because_its_connection_broke(
    watch: Watch, timed: Database, vault: Vault, site: Site, change: Callable[..., None]
) -> None:
    send(timed, vault, site, email="jane@example.com")
    watch.passes(40, every=2)
    assert len(watch.mails) == 1
    change("failing", WRONG_KEY)
    watch.passes(70, every=2)
    assert len(watch.mails) == 2
    assert "over" not in watch.mails[1].lower()
    change("working")
    with timed.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    watch.passes(5)
    assert [mail.split("\n")[0] for mail in watch.mails[2:]] == ["Frontdesk, Sunrise: 2 things are over"]


def test_an_enquiry_with_nowhere_to_go_is_told(watch: Watch, timed: Database, vault: Vault) -> None:
    send(timed, vault, make_site(timed, "alone"), email="jane@example.com")
    watch.passes(35, every=2)
    assert "1 enquiry is safe here and goes nowhere: The site Sunrise has no connection to a CRM." in watch.mails[0]


def test_a_page_that_is_not_listed_is_told_without_its_address(
    watch: Watch, timed: Database, vault: Vault, site: Site
) -> None:
    """The clinic moved to another domain: all that comes is held, and nobody looks at the desk."""
    watch.man = replace(watch.man, vault=vault)
    suspicion = FOREIGN_PAGE.format(page="https://new.clinic.example")
    for number in range(2):
        send(timed, vault, site, email=f"{number}@example.com", suspicion=suspicion)
    watch.passes(5)
    assert watch.mails == [], "anyone may send from another page once or twice"
    send(timed, vault, site, email="jane@example.com", suspicion=suspicion)
    watch.passes(5)
    assert watch.open() == ["page"]
    assert "3 enquiries came from a page that is not among the addresses of Sunrise, and are held" in watch.mails[0]
    assert "https://leads.example/desk/" in watch.mails[0]
    assert "new.clinic.example" not in watch.mails[0]
    with timed.write() as session:
        session.execute(update(Site).values(origins=["https://new.clinic.example"]))
    watch.passes(5)
    assert "a page that is not among its addresses sent enquiries" in watch.mails[1]


def test_a_page_that_sends_nothing_any_more_is_no_news(watch: Watch, timed: Database, vault: Vault, site: Site) -> None:
    watch.man = replace(watch.man, vault=vault)
    for number in range(3):
        send(
            timed,
            vault,
            site,
            email=f"{number}@example.com",
            suspicion=FOREIGN_PAGE.format(page="https://else.example"),
        )
    watch.passes(5)
    assert watch.open() == ["page"]
    watch.passes(8 * 24 * 60, every=60)
    assert watch.open() == []


def test_two_sites_of_one_long_name_are_both_told(watch: Watch, timed: Database, vault: Vault) -> None:
    for key in ("one", "another"):
        send(timed, vault, make_site(timed, key, name="S" * 200), email="jane@example.com")
    watch.passes(35, every=2)
    assert watch.mails[0].count("goes nowhere: The site SSS") == 2


def test_one_that_cannot_be_kept_keeps_no_other_from_being_told(database: Database) -> None:
    impossible = Condition("late", "a subject that is too long for PostgreSQL" * 9, "too long")
    with database.write() as session:
        settle(session, [impossible, Condition("late", "fine", "fine")], KINDS, database.now(session))
    with database.read() as session:
        assert "fine" in [alert.subject for alert in open_alerts(session)]


def test_what_is_known_is_told_though_he_cannot_look(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Database] = []
    monkeypatch.setattr("leads.upkeep.watch.signs", lambda *_: 1 / 0)
    monkeypatch.setattr(Notifier, "tell", lambda _, database: told.append(database))
    watch.clock.forward(minutes=1)
    with pytest.raises(ZeroDivisionError):
        watch.man.round()
    assert told == [watch.database]


def test_a_silent_worker_is_told_by_somebody_else(watch: Watch) -> None:
    """The watchman of a web process: it says of the worker what that cannot say itself."""
    watch.passes(5)
    watch.worker = False
    watch.passes(5)
    assert len(watch.mails) == 1
    assert "The sync is not running: nothing goes to a CRM." in watch.mails[0]
    watch.worker = True
    watch.passes(5)
    assert len(watch.mails) == 2


def test_a_worker_that_restarts_is_not_told(watch: Watch, timed: Database) -> None:
    watch.passes(5)
    with timed.write() as session:
        session.execute(delete(Worker))  # it said goodbye
    watch.worker = False
    watch.passes(0.5)
    watch.worker = True
    watch.passes(5)
    assert watch.mails == []


def test_one_that_waits_for_a_worker_that_is_killed_again_and_again_is_told(
    watch: Watch, timed: Database, vault: Vault, site: Site
) -> None:
    send(timed, vault, site, email="jane@example.com")
    for number in range(8):
        watch.passes(10, every=1)
        with timed.write() as session:
            session.execute(update(Worker).where(Worker.id == "w").values(id=f"dead {number}"))
    assert "1 enquiry waits for “Sandbox CRM” (Sunrise)" in "".join(watch.mails)


def test_a_worker_that_was_away_for_long_gets_the_time_to_send_what_waits(
    watch: Watch, timed: Database, vault: Vault, site: Site
) -> None:
    send(timed, vault, site, email="jane@example.com")
    watch.worker = False
    watch.passes(50, every=1)
    watch.worker = True
    watch.passes(25, every=1)
    assert not any("waits for" in mail for mail in watch.mails)
    watch.passes(10, every=1)
    assert "1 enquiry waits for" in "".join(watch.mails)


@pytest.mark.parametrize("state", ["refused", "expired"])
def test_what_needs_a_person_is_told_once(watch: Watch, timed: Database, vault: Vault, site: Site, state: str) -> None:
    for number in range(3):
        send(timed, vault, site, email=f"jane{number}@example.com")
        with timed.write() as session:
            session.execute(update(Delivery).values(state=state))
        watch.passes(40, every=2)
    assert len(watch.mails) == 1
    assert "1 enquiry needs a person: “Sandbox CRM” (Sunrise) did not take it." in watch.mails[0]
    with timed.read() as session:
        assert "3 enquiries" in open_alerts(session)[0].sentence, "the desk tells how many there are now"


def test_what_waits_for_consent_hides_no_refusals(watch: Watch, timed: Database, vault: Vault, site: Site) -> None:
    send(timed, vault, site, email="nora@example.com", consent=False)
    watch.passes(100, every=2)
    assert "1 enquiry needs a person before “Sandbox CRM” (Sunrise) gets it." in watch.mails[0]
    for number in range(3):
        sent = send(timed, vault, site, email=f"jane{number}@example.com")
        with timed.write() as session:
            session.execute(update(Delivery).where(Delivery.event_id == sent.event_id).values(state="refused"))
    watch.passes(100, every=2)
    assert len(watch.mails) == 2
    assert "3 enquiries need a person: “Sandbox CRM” (Sunrise) did not take them." in watch.mails[1]


def test_what_a_form_plugin_sends_and_nobody_understands_is_told_once_until_all_was_seen(
    watch: Watch, timed: Database, site: Site
) -> None:
    for _ in range(5):
        make_unreadable(timed, site, of_plugin=True)
    watch.passes(90, every=5)
    make_unreadable(timed, site, of_plugin=True)
    watch.passes(90, every=5)
    assert watch.open() == ["unreadable"]
    [mail] = watch.mails
    assert mail.startswith(
        "Frontdesk, Sunrise: 1 thing needs attention\n5 messages of Sunrise could not be understood,"
    )
    assert "perhaps a field of the form was renamed" in mail
    assert "\nSee: https://leads.example/desk/unreadable\nSince 2 Mar" in mail
    with timed.write() as session:
        session.execute(update(Unreadable).values(seen_at=watch.clock()))
    watch.passes(10)
    assert watch.open() == []
    assert re.search(r"Over since .* EST: Sunrise: messages could not be understood\.\n", watch.mails[1])


def test_rubbish_that_anyone_may_send_raises_no_alert(watch: Watch, timed: Database, site: Site) -> None:
    for whose in (site, None):
        make_unreadable(timed, whose)
    watch.passes(90, every=5)
    assert (watch.mails, watch.open()) == ([], [])


def test_of_each_website_it_is_told_by_itself(watch: Watch, timed: Database, site: Site) -> None:
    for whose in (site, make_site(timed, "other", "Sunset")):
        make_unreadable(timed, whose, of_plugin=True)
    watch.passes(10)
    [mail] = watch.mails
    assert "1 message of Sunrise could not" in mail
    assert "1 message of Sunset could not" in mail


def test_a_canary_that_failed_is_told(watch: Watch, timed: Database, site: Site) -> None:
    def ran(state: str) -> None:
        with timed.write() as session:
            times = {"started_at": watch.clock(), "ended_at": watch.clock()}
            sentence = "It was not seen in the CRM within five minutes." if state == "failed" else None
            session.add(CanaryRun(site_id=site.id, started_by="schedule", state=state, sentence=sentence, **times))

    ran("ok")
    watch.passes(5)
    ran("failed")
    watch.passes(5)
    told = "The test enquiry of Sunrise did not come through. It was not seen in the CRM within five minutes."
    assert told in watch.mails[0]
    ran("ok")
    watch.passes(5)
    assert len(watch.mails) == 2


def test_a_balance_that_does_not_close_stays_told_until_it_does(
    watch: Watch, timed: Database, vault: Vault, site: Site
) -> None:
    watch.passes(5)
    lost = send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        row = session.scalars(select(Delivery).where(Delivery.event_id == lost.event_id)).one()
        kept = {column.key: getattr(row, column.key) for column in Delivery.__table__.columns}
        session.delete(row)
    watch.passes(5)
    told = "The balance of Sunrise on 2 March 2026 does not close: 1 enquiry of 1 not accounted for."
    assert told in watch.mails[0]
    watch.passes(4 * 24 * 60, every=120)
    assert (len(watch.mails), watch.open()) == (1, ["balance"])
    with timed.write() as session:
        session.add(Delivery(**(kept | {"state": "confirmed"})))
    watch.passes(5)
    assert (len(watch.mails), watch.open()) == (2, [])


def test_silence_beyond_a_sites_own_weeks_is_told(
    watch: Watch, timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock
) -> None:
    """Twelve forms each working day from 9 to 17 in New York, one tap at noon; then, on a Monday, none."""
    clock.time = datetime(2026, 4, 6, 12, 0, tzinfo=UTC)  # Monday, 8:00 in New York
    with timed.write() as session:
        session.execute(update(Site).values(created_at=clock() - timedelta(days=40)))
    days = [clock() - timedelta(days=back) for back in range(1, 36)]
    working = [day for day in days if day.weekday() < 5]
    forms = [day + timedelta(minutes=60 + 40 * n) for day in working for n in range(12)]
    send_many(timed, vault, site, forms, connection)
    send_many(timed, vault, site, [day + timedelta(hours=4) for day in working], connection, kind="call_click")
    watch.passes(60, every=10)
    assert watch.mails == [], "the weekend and the night were as quiet as ever"
    watch.passes(8 * 60, every=15)
    assert len(watch.mails) == 1
    told = "Sunrise has sent no consultation requests for 2 days; about 10 would be usual. Please try its pages."
    assert told in watch.mails[0]
    watch.passes(10 * 24 * 60, every=240)
    silent = [mail for mail in watch.mails if "consultation requests" in mail]
    assert len(silent) == 1, "told once, for as long as it lasts"
    watch.passes(50 * 24 * 60, every=48 * 60)
    assert "silence" in watch.open()
    send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        session.execute(update(Delivery).values(state="confirmed"))
    watch.passes(5)
    assert "over" in watch.mails[-1].split("\n")[0]


def test_when_mail_is_broken_it_is_kept_tried_again_and_said(
    watch: Watch, server: MailServer, change: Callable[..., None], timed: Database
) -> None:
    server.refuse = {"MAIL": "451 try later"}
    change("failing", WRONG_KEY)
    watch.passes(10)
    assert server.commands.count("MAIL") == 2, "every five minutes, not every half minute"
    assert watch.open() == ["connection", "mail"]
    with timed.read() as session:
        sentence = open_alerts(session, ["mail"])[0].sentence
    assert sentence == ("Notices by e-mail cannot be sent: The mail server refuses FRONTDESK_SMTP_FROM (code 451).")
    server.refuse = {}
    watch.passes(10)
    assert watch.mails[0].startswith("Frontdesk, Sunrise: 2 things need attention\n")
    assert WRONG_KEY in watch.mails[0]
    assert "Notices by e-mail cannot be sent" in watch.mails[0]
    assert watch.open() == ["connection"]
    assert watch.mails[1].startswith("Frontdesk, Sunrise: it is over, but 1 thing still needs attention\n")
    watch.passes(120, every=5)
    assert len(watch.mails) == 2


class Told:
    """A way to people that remembers, or does not work."""

    def __init__(self, name: str, works: bool = True) -> None:
        self.name, self.works, self.notices = name, works, list[Notice]()
        self.away, self.partly, self.tried = False, False, 0

    def send(self, notice: Notice) -> str:
        self.tried += 1
        if self.away:
            raise UnreachableError("Nobody answers.")
        if not self.works:
            raise NoticeError("It is broken.")
        self.notices.append(notice)
        if self.partly:
            raise PartlyError("Some do not get it.")
        return "Taken."


def test_when_one_of_two_ways_is_broken_the_other_says_so(watch: Watch, change: Callable[..., None]) -> None:
    mail, chat = Told("e-mail", works=False), Told("Apprise")
    watch.man = Watchman(watch.database, Notifier([mail, chat], "https://leads.example", None), timedelta(minutes=30))
    change("failing", WRONG_KEY)
    watch.passes(10)
    told = [notice.text.split("\n")[0] for notice in chat.notices]
    assert told[0].endswith("What comes in is kept, and sent once it works.")
    assert told[1:] == ["Notices by e-mail cannot be sent: It is broken."]


def test_who_gets_notices_is_told_once_that_others_do_not(
    watch: Watch, server: MailServer, change: Callable[..., None]
) -> None:
    both = Mail(
        "127.0.0.1", server.port, "none", "", "", "frontdesk@clinic.example", ["gone@a.example", "ops@a.example"]
    )
    watch.man = Watchman(watch.database, Notifier([both], "https://leads.example", None), timedelta(minutes=30))
    server.refuse = {"rcpt TO:<gone@a.example>": "550 nobody here"}
    change("failing", WRONG_KEY)
    watch.passes(60, every=1)
    assert watch.open() == ["connection", "mail"]
    missing = "Notices by e-mail do not reach everybody: The mail server refuses gone@a.example."
    assert [(WRONG_KEY in mail, missing in mail) for mail in watch.mails] == [(True, False), (False, True)]
    change("working")
    server.refuse = {}
    watch.passes(60, every=1)
    assert watch.open() == []


def test_a_clinics_people_are_not_told_again_for_one_of_them_whom_it_does_not_reach(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {})
    clinics.anna.partly = True
    clinics.fail(clinics.theirs)
    watch.passes(60, every=1)
    assert len(clinics.anna.notices) == 1
    told = "\n".join(notice.text for notice in clinics.everybody.notices)
    assert "Notices by e-mail to Lakeside do not reach everybody: Some do not get it." in told


class Clinics:
    """Two websites with a CRM each; somebody is told of the second one alone."""

    def __init__(self, watch: Watch, vault: Vault, more: dict[str, Any]) -> None:
        self.watch = watch
        lakeside = make_site(watch.database, "lakeside", "Lakeside", alert_emails=["anna@lakeside.example"])
        self.theirs = make_connection(watch.database, vault, lakeside, name="Lakeside CRM")
        self.everybody, self.anna = Told("e-mail"), Told("e-mail")
        self.asked = list[Sequence[str]]()
        notifier = Notifier([self.everybody], "https://leads.example", mail_to=self.to, **{"digest_at": None} | more)
        watch.man = Watchman(watch.database, notifier, timedelta(minutes=30))

    def to(self, addresses: Sequence[str]) -> Told:
        self.asked.append(addresses)
        return self.anna

    def fail(self, connection: Connection, state: str = "failing") -> None:
        with self.watch.database.write() as session:
            now = self.watch.clock()
            values = {"state": state, "sentence": WRONG_KEY, "state_since": now}
            session.execute(update(Connection).where(Connection.id == connection.id).values(**values))


def test_a_clinic_is_told_of_its_own_website_alone(watch: Watch, vault: Vault, connection: Connection) -> None:
    clinics = Clinics(watch, vault, {})
    clinics.fail(connection)
    watch.passes(10)
    assert (len(clinics.everybody.notices), clinics.anna.notices) == (1, [])
    clinics.fail(clinics.theirs)
    watch.worker = False  # what concerns the whole installation is told to those who look after it
    watch.passes(10)
    told = "\n".join(notice.text for notice in clinics.anna.notices)
    assert clinics.asked[0] == ["anna@lakeside.example"]
    assert "“Lakeside CRM” (Lakeside) has a problem" in told
    assert "Sunrise" not in told
    assert "sync is not running" not in told
    assert "sync is not running" in "\n".join(notice.text for notice in clinics.everybody.notices)
    clinics.fail(clinics.theirs, "working")
    watch.passes(10)
    assert "over" in clinics.anna.notices[-1].subject
    assert len(clinics.anna.notices) == 2


def test_a_website_may_be_called_as_an_alert_is(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {})
    for key in ("worker", "e-mail", "backup"):
        make_site(watch.database, key, alert_emails=["ben@example.com"])
    watch.worker = False
    clinics.anna.works = False
    clinics.fail(clinics.theirs)
    watch.passes(4)
    assert clinics.anna.tried == 1, "for Lakeside, and for none of these"


@pytest.mark.parametrize("key", ["lakeside", "lakeside-2"])
def test_what_is_known_by_a_website_alone_is_told_to_its_own(watch: Watch, vault: Vault, key: str) -> None:
    clinics = Clinics(watch, vault, {})
    if key == "lakeside-2":
        make_site(watch.database, key, "Lakeside 2")
    with watch.database.read() as session:
        site = session.scalars(select(Site).where(Site.key == key)).one()
    make_unreadable(watch.database, site, of_plugin=True)
    watch.passes(10)
    assert len(clinics.everybody.notices) == 1
    assert len(clinics.anna.notices) == (key == "lakeside")


def test_a_clinic_has_a_summary_of_its_own(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {"digest_at": 7, "keep": timedelta(days=30)})
    watch.passes(48 * 60, every=30)
    assert len(clinics.anna.notices) == len(clinics.everybody.notices) > 0
    assert "- Lakeside: 0 enquiries." in clinics.anna.notices[-1].text
    assert "Sunrise" not in clinics.anna.notices[-1].text
    assert "Sunrise" in clinics.everybody.notices[-1].text


def test_that_a_clinic_cannot_be_told_is_told(watch: Watch, vault: Vault, connection: Connection) -> None:
    clinics = Clinics(watch, vault, {})
    clinics.anna.works = False
    clinics.fail(clinics.theirs)
    watch.passes(10)
    broken = "Notices by e-mail to Lakeside cannot be sent: It is broken."
    assert broken in "\n".join(notice.text for notice in clinics.everybody.notices)
    clinics.fail(connection)
    watch.passes(10)
    assert watch.open() == ["connection", "mail", "connection"], "another clinic's notice says nothing about this one's"
    clinics.anna.works = True
    clinics.fail(clinics.theirs, "working")
    watch.passes(10)
    assert watch.open() == ["connection"]


def test_a_mail_server_that_does_not_answer_is_asked_once_for_all(
    watch: Watch, vault: Vault, connection: Connection
) -> None:
    clinics = Clinics(watch, vault, {})
    hillside = make_site(watch.database, "hillside", "Hillside", alert_emails=["anna@lakeside.example"])
    connections = [clinics.theirs, make_connection(watch.database, vault, hillside)]
    clinics.anna.away = True
    for one in connections:
        clinics.fail(one)
    watch.passes(4)
    assert clinics.anna.tried == 1, "for both"
    assert watch.open().count("mail") == 2
    clinics.anna.away = False
    watch.passes(12)
    told = sorted(notice.text.split("\n")[0] for notice in clinics.anna.notices)
    assert ["Lakeside" in told[0], "Hillside" in told[1], len(told)] == [True, True, 2], "what stands, once each"
    assert "mail" not in watch.open()


def test_a_program_without_a_mail_server_says_nothing_of_mails_that_failed(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {})
    clinics.anna.works = False
    clinics.fail(clinics.theirs)
    watch.passes(4)
    assert "mail" in watch.open()
    watch.man = Watchman(
        watch.database, Notifier([clinics.everybody], "https://leads.example", None), timedelta(minutes=30)
    )
    watch.passes(20)
    assert "mail" in watch.open()


def test_a_clinic_is_not_told_again_and_again_while_those_who_are_told_of_all_cannot_be(
    watch: Watch, vault: Vault
) -> None:
    clinics = Clinics(watch, vault, {})
    clinics.everybody.works = False
    clinics.fail(clinics.theirs)
    watch.passes(60)
    assert clinics.anna.notices == []
    clinics.everybody.works = True
    watch.passes(10)
    assert len(clinics.anna.notices) == 1


def test_a_clinic_does_not_hear_that_it_is_over_while_nobody_delivers(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {})
    with watch.database.read() as session:
        lakeside = session.scalars(select(Site).where(Site.key == "lakeside")).one()
    send(watch.database, vault, lakeside, email="jane@example.com")
    watch.passes(45)
    assert ["waits" in notice.text for notice in clinics.anna.notices] == [True]
    watch.worker = False
    with watch.database.write() as session:
        session.execute(update(Delivery).values(due_at=watch.clock() + timedelta(days=1)))
    watch.passes(30)
    assert len(clinics.anna.notices) == 1


def test_two_at_once_tell_it_once(watch: Watch, change: Callable[..., None]) -> None:
    class Slow(Told):
        """While it sends, another process looks as well."""

        def send(self, notice: Notice) -> str:
            super().send(notice)
            if len(self.notices) == 1:
                watch.man.notifier.tell(watch.database)
            return "Taken."

    chat = Slow("Apprise")
    watch.man = Watchman(watch.database, Notifier([chat], "https://leads.example", None), timedelta(minutes=30))
    change("failing", WRONG_KEY)
    watch.passes(10)
    assert len(chat.notices) == 1


class Meanwhile(Told):
    """While it sends, something happens that another process sees."""

    def __init__(self, watch: Watch) -> None:
        super().__init__("Apprise")
        self.watch, self.happens = watch, list[Callable[[], None]]()

    def send(self, notice: Notice) -> str:
        if self.happens:
            self.happens.pop()()
            self.watch.man.look()
        return super().send(notice)


def test_what_goes_on_while_its_end_is_told_is_told_anew(watch: Watch, change: Callable[..., None]) -> None:
    chat = Meanwhile(watch)
    watch.man = replace(watch.man, notifier=replace(watch.man.notifier, channels=[chat]))
    change("failing", WRONG_KEY)
    watch.passes(5)
    chat.happens = [lambda: change("failing", WRONG_KEY)]
    change("working")
    watch.passes(5)
    assert ["over" in notice.subject for notice in chat.notices] == [False, True, False]
    change("working")
    watch.passes(5)
    assert "over" in chat.notices[3].subject


def test_a_clinic_is_told_of_nothing_that_is_over_by_then(watch: Watch, vault: Vault) -> None:
    clinics = Clinics(watch, vault, {})
    slow = Meanwhile(watch)
    slow.happens = [lambda: clinics.fail(clinics.theirs, "working")]
    watch.man = replace(watch.man, notifier=replace(watch.man.notifier, channels=[slow]))
    clinics.fail(clinics.theirs)
    watch.passes(1.5)
    assert (len(slow.notices), clinics.anna.notices) == (1, [])
    watch.passes(5)
    assert ["over" in notice.subject for notice in clinics.anna.notices] == [True]


def test_of_two_watchmen_one_walks(watch: Watch) -> None:
    other = Watchman(watch.database, watch.man.notifier, watch.man.after)
    watch.clock.forward(minutes=1)
    assert [watch.man.round(), other.round(), watch.man.round()] == [True, False, False]
    watch.clock.forward(seconds=30)
    assert [other.round(), watch.man.round()] == [True, False]


def test_the_one_who_can_tell_tells_though_another_looks(watch: Watch, change: Callable[..., None]) -> None:
    """Only the web process was given a mail server, and the worker is always first."""
    mute = Watchman(watch.database, Notifier([], "https://leads.example", None), watch.man.after)
    change("failing", WRONG_KEY)
    for _ in range(6):
        watch.clock.forward(minutes=1)
        watch.beat()
        assert (mute.round(), watch.man.round()) == (True, False)
    assert len(watch.mails) == 1


def test_where_nobody_is_told_any_more_no_notice_is_missing(
    watch: Watch, server: MailServer, change: Callable[..., None]
) -> None:
    server.refuse = {"MAIL": "451 try later"}
    change("failing", WRONG_KEY)
    watch.passes(10, every=2)
    watch.man = Watchman(watch.database, Notifier([], "https://leads.example", None), watch.man.after)
    watch.passes(24 * 60, every=360)
    assert watch.open() == ["connection", "mail"]
    watch.passes(30 * 60, every=360)
    assert watch.open() == ["connection"]


def test_the_daily_summary(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, server: MailServer
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    watch.passes(30, every=5)
    assert watch.mails == [], "none on the day it was installed, before its hour"
    for number, state in enumerate(("confirmed", "confirmed", "refused")):
        sent = send(timed, vault, site, email=f"jane{number}@example.com")
        with timed.write() as session:
            session.execute(update(Delivery).where(Delivery.event_id == sent.event_id).values(state=state))
    make_site(timed, "other")
    watch.passes(28 * 60, every=60)
    assert len(watch.mails) == 3, "the first summary, what needs a person, the second summary"
    summary = watch.mails[2]
    assert summary.startswith("Frontdesk: yesterday, and 1 thing is wrong\nYesterday:\n"), "it is about two websites"
    assert "- Sunrise: 3 enquiries: 2 in the CRM; 1 refused.\n" in summary
    assert "- Sunrise: 0 enquiries.\n" in summary
    assert "needs a person" in summary
    with timed.write() as session:
        session.execute(update(Delivery).values(state="handled"))
    watch.passes(24 * 60, every=60)
    assert watch.mails[-1].startswith("Frontdesk: yesterday, and all is well\n")
    assert "Nothing is wrong now." in watch.mails[-1]
    assert len(watch.mails) == 5, "the all-clear and the third summary"


def test_the_hour_that_comes_twice_when_clocks_are_set_back_has_one_summary(
    timed: Database, site: Site, clock: Clock, server: MailServer
) -> None:
    clock.time = datetime(2026, 11, 1, 3, tzinfo=UTC)  # in New York 01:00 comes at 5 and at 6 o'clock UTC
    watch = Watch(timed, clock, server, digest_at=1)
    watch.passes(12 * 60, every=10)
    assert [mail.split("\n")[0] for mail in watch.mails] == ["Frontdesk, Sunrise: yesterday, and all is well"]


def test_the_daily_summary_counts_a_day_that_does_not_close_once_and_before_there_is_an_alert(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, server: MailServer
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    watch.passes(30, every=5)
    lost = send(timed, vault, site, email="jane@example.com")
    with timed.write() as session:
        session.execute(delete(Delivery).where(Delivery.event_id == lost.event_id))
    clock.forward(hours=24)
    watch.man.notifier.tell(timed)
    watch.passes(24 * 60, every=60)
    first, *_, last = watch.mails
    for summary in (first, last):
        assert summary.startswith("Frontdesk, Sunrise: yesterday, and 1 thing is wrong\n")
    told = "- The balance of Sunrise on 2 March 2026 does not close: 1 enquiry of 1 not accounted for."
    assert f"What is wrong now:\n{told}\n" in first
    assert f"What is wrong now:\n{told} Since " in last


def test_the_daily_summary_tells_in_good_time_who_will_be_forgotten(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, server: MailServer
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    watch.man = replace(watch.man, notifier=replace(watch.man.notifier, keep=timedelta(days=28)))
    watch.passes(30, every=5)
    for number in range(2):
        send(timed, vault, site, email=f"jane{number}@example.com", suspicion="Too quick.")
    send(timed, vault, site, email="no@example.com", consent=False)
    make_unreadable(timed, site)
    make_unreadable(timed, site, seen_at=clock())
    clock.forward(days=13)
    watch.passes(24 * 60, every=60)
    assert "forgotten" not in watch.mails[-1]
    watch.passes(24 * 60, every=60)
    told = "Within 14 days these are forgotten, if nobody decides on them before:\n"
    told += "- 1 person held for want of consent\n- 2 people held since it looks like spam\n"
    assert f"{told}- 1 message that could not be understood, and nobody has seen\n" in watch.mails[-1]


def test_the_daily_summary_does_not_call_well_what_nobody_has_looked_at(
    timed: Database, vault: Vault, site: Site, connection: Connection, clock: Clock, server: MailServer
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    for whose in (site, None):
        make_unreadable(timed, whose)
    for number in range(3):
        send(timed, vault, site, email=f"spam{number}@example.com", suspicion="Too quick.")
    for said in ("Monday", "Tuesday", "Wednesday"):  # one person
        send(timed, vault, site, client_id="one", email="jane@example.com", message=said)
    with timed.write() as session:
        session.execute(update(Delivery).where(Delivery.state == "waiting").values(state="confirmed"))
    watch.passes(24 * 60, every=60)
    [summary] = watch.mails
    assert summary.startswith("Frontdesk, Sunrise: yesterday, and 6 wait for a look\n")
    told = [
        "Nothing is wrong now.\n\nWaiting for a look:",
        "- 3 held as suspected spam: https://leads.example/desk/leads?state=spam",
        "- 1 sent again with other answers: https://leads.example/desk/",
        "- 2 could not be understood: https://leads.example/desk/unreadable\n",
    ]
    assert "\n".join(told) in summary
    with timed.write() as session:
        for model in (Unreadable, Resubmission):
            session.execute(update(model).values(seen_at=clock()))
        session.execute(update(Delivery).values(state="handled"))
    watch.passes(24 * 60, every=60)
    assert watch.mails[1].startswith("Frontdesk, Sunrise: yesterday, and all is well\n")
    assert "look" not in watch.mails[1]


def test_a_summary_that_could_not_be_sent_is_sent_later(
    timed: Database, site: Site, connection: Connection, clock: Clock, server: MailServer
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    watch.passes(4 * 60 - 5, every=5)
    server.refuse = {"DATA": "554 no"}
    watch.passes(60, every=10)
    assert watch.mails == []
    server.refuse = {}
    watch.passes(20, every=5)
    assert [mail.split("\n")[0] for mail in watch.mails if "yesterday" in mail] == [
        "Frontdesk, Sunrise: yesterday, and 1 thing is wrong"
    ]


def test_no_notice_holds_anything_personal(
    timed: Database,
    vault: Vault,
    site: Site,
    connection: Connection,
    clock: Clock,
    server: MailServer,
    change: Callable[..., None],
) -> None:
    watch = Watch(timed, clock, server, digest_at=8)
    watch.passes(2)
    codes = [send(timed, vault, site, **(NEEDLE | {"last_name": f"Needleworth{n}"})).reference for n in range(2)]
    codes.append(send(timed, vault, make_site(timed, "alone"), **NEEDLE).reference)
    lost = send(timed, vault, site, **NEEDLE)
    with timed.write() as session:
        session.execute(delete(Delivery).where(Delivery.event_id == lost.event_id))
        first = session.scalars(select(Delivery).limit(1)).one()
        first.state, first.field, first.sentence = "refused", "email", "The CRM does not accept the e-mail."
    watch.passes(45, every=5)
    change("failing", WRONG_KEY)
    watch.passes(24 * 60, every=60)
    watch.worker = False
    watch.passes(10)
    with timed.read() as session:
        kinds = set(session.scalars(select(Alert.kind)))
        rows = [f"{alert.subject} {alert.sentence}" for alert in session.scalars(select(Alert))]
    assert kinds >= {"late", "needs_you", "balance", "connection", "worker"}
    everything = "\n".join([*watch.mails, *(str(mail) for mail in server.mails), *rows])
    assert len(watch.mails) >= 4
    for needle in (*NEEDLES, *codes):
        assert needle.lower() not in everything.lower()


def test_he_walks_on_whatever_happens(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles: list[Exception] = [OperationalError("SELECT 1", None, Exception("gone")), ValueError("a bug"), OSError()]
    looked = threading.Event()

    def stumble(self: Any, database: Database) -> None:
        if troubles:
            raise troubles.pop()
        looked.set()

    monkeypatch.setattr(Notifier, "tell", stumble)
    stop = threading.Event()
    walk = threading.Thread(
        target=Watchman(database, Notifier([], "", None), timedelta(minutes=30)).walk,
        args=(stop, timedelta(milliseconds=20)),
    )
    walk.start()
    assert looked.wait(60)
    stop.set()
    walk.join(60)
    assert not walk.is_alive()


def test_he_walks_on_when_the_database_was_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, real = threading.Event(), database.write
    away = threading.Event()
    away.set()

    def write() -> Any:
        if away.is_set():
            raise OperationalError("BEGIN", None, Exception("gone"))
        return real()

    monkeypatch.setattr(database, "write", write)
    watchman = Watchman(database, Notifier([], "", None), timedelta(minutes=30))
    walk = threading.Thread(target=watchman.walk, args=(stop, timedelta(milliseconds=20)))
    walk.start()
    time.sleep(0.1)
    away.clear()
    wait_for(lambda: _was_walked(database))
    stop.set()
    walk.join(60)
    assert _was_walked(database)


def _was_walked(database: Database) -> bool:
    with database.read() as session:
        return session.get(Task, "watch") is not None


def test_test_enquiries_break_no_silence_and_wait_for_nobody(
    watch: Watch, timed: Database, vault: Vault, site: Site, clock: Clock
) -> None:
    clock.time = datetime(2026, 4, 6, 12, 0, tzinfo=UTC)
    with timed.write() as session:
        session.execute(update(Site).values(created_at=clock() - timedelta(days=40)))
    every_hour = [clock() - timedelta(hours=n) for n in range(6, 35 * 24)]
    with timed.read() as session:
        connection = session.scalars(select(Connection)).one()
    send_many(timed, vault, site, every_hour, connection)
    send(timed, vault, site, email="canary@example.com")
    with timed.write() as session:
        session.execute(update(Event).where(Event.received_at == clock()).values(is_test=True))
        session.execute(update(Delivery).values(state="confirmed"))
    watch.passes(5 * 60, every=60)
    assert watch.open() == ["silence"]
