"""Every scripted behaviour of a CRM × 20 seeds, in virtual time, against the real loop.

One world has one clinic with a connection to each strange CRM, so that each enquiry goes to all of them: what one CRM
does must hold up no other. Most worlds are on SQLite, some on PostgreSQL; in every fourth the schedule is so short that
deliveries expire.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import and_, func, or_, select

from leads.store.models import Connection, Delivery
from leads.store.schema import upgrade
from leads.store.session import Database
from leads.sync.connect import Context
from tests.chaos.plan import Figures, Plan
from tests.chaos.scripts import BEHAVIOURS, Behaviour
from tests.chaos.strange_crm import KEY, SCRIPTED, Crm, on_sockets, scripted
from tests.chaos.virtual import SCHEDULE, Clinic, Clock, email_of, virtual_time
from tests.chaos.world import fresh_database

WORLDS = 20
_SHORT = (0, 5, 60, 300)
_PEOPLE = 4
_AT_ONCE = timedelta(minutes=10)  # within this an enquiry arrives that another one's trouble does not concern
_GIVE_UP = timedelta(days=21)
_MISSING = timedelta(seconds=90)  # what confirm.py waits at most before it sends again what is missing
_ON_THEIR_WAY = ("waiting", "sending", "sent")
_TO_BE_SEEN = and_(Delivery.state == "sent", Delivery.check_at.is_not(None))
_NEXT = {
    "waiting": {"waiting", "sent", "confirmed", "refused", "expired"},
    "sent": {"sent", "confirmed", "waiting", "refused", "expired"},  # the last when it was missing and sent in vain
}


def run(plan: Plan) -> Figures:
    """Play one world for each seed."""
    figures = Figures()
    for number in range(plan.count(WORLDS)):
        with ExitStack() as stack:
            folder = plan.folder / str(number)
            folder.mkdir()
            url = fresh_database(stack, folder, "postgres" if number % 5 == 3 else "sqlite")
            database = Database(url)
            upgrade(database)
            database.close()
            seed = plan.dice(f"world {number}").randrange(10**9)
            figures.take(play(url, folder, seed, BEHAVIOURS, short=number % 4 == 2))
        plan.say(f"{number + 1} of {plan.count(WORLDS)} worlds")
    return figures


def play(url: str, folder: Path, seed: int, behaviours: Sequence[Behaviour], *, short: bool = False) -> Figures:
    """Play one world on an empty database to its end. short: with a schedule on which deliveries expire."""
    clock, figures = Clock(), Figures()
    random.seed(seed)  # by which the product spreads its retries
    crms = {str(n): _crm(one, clock, seed, awaited=not short) for n, one in enumerate(behaviours)}
    with virtual_time(clock), scripted(crms), on_sockets(crms) as sockets:
        world = World(url, folder, clock, _SHORT if short else SCHEDULE)
        for name, behaviour in zip(crms, behaviours, strict=True):
            address = sockets if behaviour.on_socket else SCRIPTED
            world.join(behaviour, crms[name], f"{address}/{name}")
        world.plan_visits(random.Random(seed))
        figures.must(world.run(), f"seed {seed}: all comes to an end in {_GIVE_UP.days} days: {world.left()} does not")
        for watched in world.watched.values():
            watched.conclude()
            figures.add("runs")
            figures.add("calls", len(watched.crm.calls))
            told = f"seed {seed}: {watched.behaviour.name} ({watched.crm.memory.get('kind', 0)}): "
            figures.broken += [told + sentence for sentence in [*watched.broken, *watched.crm.broken][:3]]
        world.database.close()
    return figures


def _crm(behaviour: Behaviour, clock: Clock, seed: int, *, awaited: bool) -> Crm:
    dice = random.Random(f"{seed} {behaviour.name}")
    least, most = behaviour.calls
    left = least if least == most else dice.randint(int(least), int(most))
    poison = email_of(dice.randrange(_PEOPLE - 1))
    return Crm(behaviour.name, behaviour.script, left, clock, dice, poison, behaviour.unique, awaited)


def _next_beat(now: datetime, moment: datetime) -> datetime:
    """The loop's own clock beats once a second: its first beat after now at which the moment has come."""
    soonest = max(moment, now.replace(microsecond=0) + timedelta(seconds=1))
    return soonest.replace(microsecond=0) + timedelta(seconds=1 if soonest.microsecond else 0)


class World(Clinic):
    """A clinic with many strange CRMs."""

    def __init__(self, url: str, folder: Path, clock: Clock, schedule: tuple[int, ...]) -> None:
        super().__init__(url, folder, clock, schedule, timeout=60)
        # In real time, for what drips is cut then. A machine that stands still for as long looks like a CRM that fails.
        self._hasty = replace(self.context, limits=replace(self.context.limits, timeout=2))
        self.watched: dict[UUID, Watched] = {}
        self.authors: dict[UUID, str] = {}
        self._visits: list[tuple[datetime, int]] = []

    def join(self, behaviour: Behaviour, crm: Crm, url: str) -> None:
        """Connect the clinic to this CRM, which answers at this address."""
        options = {"url": url, "key": KEY}
        if behaviour.kind == "webhook":
            secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
            options = {"url": url, "secret": secret, "drops_repeats": str(behaviour.drops_repeats)}
        connection_id = self.connect(behaviour.kind, behaviour.name, {**options, **behaviour.options})
        self.watched[connection_id] = Watched(self, behaviour, crm, connection_id)

    def context_of(self, connection_id: UUID) -> Context:
        """Only what is on a socket can drip."""
        return self._hasty if self.watched[connection_id].behaviour.on_socket else self.context

    def plan_visits(self, dice: random.Random) -> None:
        """Three people at once, two more visits later, which may be theirs again."""
        visits = [(0.0, person) for person in range(_PEOPLE - 1)]
        visits += [(dice.uniform(1, 600), dice.randrange(_PEOPLE)), (dice.uniform(60, 20000), dice.randrange(_PEOPLE))]
        self._visits = sorted((self.clock() + timedelta(seconds=wait), person) for wait, person in visits)

    def run(self) -> bool:
        """Go from one moment at which something may happen to the next. Returns whether all came to an end."""
        ends, moment = self.clock() + _GIVE_UP, self.clock()
        while moment is not None and moment < ends:
            self.clock.now = _next_beat(self.clock.now, moment)
            self._let_visit()
            for watched in self.watched.values():
                watched.crm.catch_up()
            for connection_id in (ready := self.tick()):
                self.watched[connection_id].look()
            moment = self.clock() if ready else self._next_moment()
        return not self.left()

    def left(self) -> list[str]:
        """Where something is still on its way."""
        on_their_way = self.deliveries(or_(Delivery.state.in_(("waiting", "sending")), _TO_BE_SEEN))
        return sorted({self.watched[row.connection_id].behaviour.name for row in on_their_way})

    def _let_visit(self) -> None:
        while self._visits and self._visits[0][0] <= self.clock():
            person = self._visits.pop(0)[1]
            self.authors[self.send(person).event_id] = email_of(person)

    def _next_moment(self) -> datetime | None:
        """The next one that is planned, whatever for: what is due already and not ready waits for one of them.

        None when nothing is on its way any more, or when what is on its way has no plan.
        """
        late = [at for watched in self.watched.values() for at, _ in watched.crm.pending]
        visits = [self._visits[0][0]] if self._visits else []
        if not visits and not self.left():
            return None
        return min([*self._planned(), *visits, *late], default=None)

    def _planned(self) -> list[datetime]:
        planned = [
            select(func.min(column)).where(column > self.clock(), Delivery.state.in_(_ON_THEIR_WAY))
            for column in (Delivery.due_at, Delivery.check_at, Delivery.lease_until)
        ]
        planned += [
            select(func.min(column)).where(column > self.clock())
            for column in (Connection.probe_at, Connection.wait_until)
        ]
        with self.database.read() as session:
            return [moment for query in planned if (moment := session.scalar(query)) is not None]


class Watched:
    """One connection, and all that must hold for it."""

    def __init__(self, world: World, behaviour: Behaviour, crm: Crm, connection_id: UUID) -> None:
        self.world, self.behaviour, self.crm, self.id = world, behaviour, crm, connection_id
        self.broken: list[str] = []
        self._states: dict[UUID, str] = {}
        self._planned: dict[UUID, datetime] | None = None  # once it is well again: when each must have arrived

    def look(self) -> None:
        """After each time the loop was here."""
        now, policy = self.world.clock(), self.world.context.policy
        connection, rows = self.world.connection(self.id), self.world.deliveries(Delivery.connection_id == self.id)
        self._must(connection.lease_token is None, "the lane is given back")
        for row in rows:
            before = self._states.get(row.id, "waiting")
            self._must(row.state in _NEXT.get(before, {before}), f"from {before} to {row.state}")
            self._states[row.id] = row.state
            has_id = bool(row.remote_id and row.remote_id.strip() not in ("", "None", "null"))
            self._must(has_id or row.state not in ("sent", "confirmed"), f"{row.state} with the id {row.remote_id!r}")
            most = len(policy.schedule) + row.missing  # what was accepted and is not there is sent again all the same
            self._must(row.attempts <= most, f"{row.attempts} attempts")
            if row.state == "waiting":
                self._must(row.due_at <= now + self._longest_wait(row, connection), f"due only at {row.due_at}")
            if row.state == "expired":
                spent, age = row.attempts >= len(policy.schedule), now - row.tries_from >= policy.max_age
                self._must(spent or age, "expired before its time")
        if self.crm.left <= 0 and self._planned is None:
            self._planned = {row.id: self._arrives_by(row, rows, connection) for row in rows}

    def _longest_wait(self, row: Delivery, connection: Connection) -> timedelta:
        schedule = self.world.context.policy.schedule
        quiet = max((connection.wait_until or self.world.clock()) - self.world.clock(), timedelta())
        return max(schedule[min(row.attempts, len(schedule) - 1)] * 1.2, _MISSING, quiet)

    def _arrives_by(self, row: Delivery, rows: Sequence[Delivery], connection: Connection) -> datetime:
        """Nothing is put off further once the CRM is well again. Who came twice arrives when the first one has."""
        earlier = [one.due_at for one in rows if one.lead_id == row.lead_id and one.state == "waiting"]
        moments = (*earlier, row.check_at, connection.probe_at, connection.wait_until, self.world.clock())
        return max(moment for moment in moments if moment) + _AT_ONCE

    def conclude(self) -> None:
        """When nothing is on its way any more."""
        rows = self.world.deliveries(Delivery.connection_id == self.id)
        for row in rows:
            self._conclude_one(row, is_poison=self.world.authors[row.event_id] == self.crm.poison)
        self._compare([row for row in rows if row.state in ("sent", "confirmed")])
        if self.behaviour.in_order:
            self._must_be_in_order(rows)

    def _conclude_one(self, row: Delivery, *, is_poison: bool) -> None:
        behaviour, arrived = self.behaviour, row.confirmed_at or row.sent_at
        ends = behaviour.poison if is_poison and behaviour.poison else behaviour.ends
        may_expire = self.world.context.policy.max_age < timedelta(days=1) and not behaviour.name.startswith("is well")
        self._must(row.state in ends or (may_expire and row.state == "expired"), f"ends {row.state} ({row.code})")
        if row.state == "confirmed" and behaviour.poison and not is_poison:
            self._must(arrived - row.created_at <= _AT_ONCE, f"held up by another: {arrived - row.created_at}")
        if row.state in ("sent", "confirmed") and behaviour.free:
            self._must(row.attempts <= 1, f"spent {row.attempts} attempts")
        by = (self._planned or {}).get(row.id)
        self._must(not (by and arrived) or arrived <= by, f"arrived {arrived}, although planned by {by}")

    def _compare(self, held: Sequence[Delivery]) -> None:
        """Our book and the CRM's."""
        contacts = self.crm.contacts()
        homes = [(one["external_id"], contact["id"]) for contact in contacts for one in contact["activities"]]
        homes += [(one["event"]["id"], one["lead"]["id"]) for one in self.crm.messages.values()]
        times = Counter(event for event, _ in homes)
        self._must(set(times.values()) <= {1}, "an event is in the CRM twice")
        emails = Counter(contact["properties"].get("email") for contact in contacts)
        self._must(set(emails.values()) <= {1}, "a person is in the CRM twice")
        place = dict(homes)
        for row in held:
            there = place.get(str(row.event_id))
            self._must(there == row.remote_id, f"{row.state} as {row.remote_id}, in the CRM as {there}")

    def _must_be_in_order(self, rows: Sequence[Delivery]) -> None:
        """Two events of one person arrive as they were made."""
        kept = self.crm.arrived
        rows = sorted((row for row in rows if str(row.event_id) in kept), key=lambda row: (row.created_at, row.id))
        for first, second in itertools.combinations(rows, 2):
            if first.lead_id == second.lead_id and first.state != "refused":
                self._must(kept[str(first.event_id)] <= kept[str(second.event_id)], "a later event overtook")

    def _must(self, holds: bool, sentence: str) -> None:
        if not holds and len(self.broken) < 20:
            self.broken.append(sentence)
