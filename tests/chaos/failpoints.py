"""Every named point × kill, SIGTERM, exception, pause, on both databases: all visited, all hold.

A point that no scene here reaches is a failure: the list in `leads.store.failpoint` is what must be visited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import requests
from sqlalchemy import select

from leads.store.failpoint import ACTIONS, POINTS
from leads.store.models import Event
from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.visitors import Log
from tests.chaos.world import World, fresh_databases, open_world
from tests.chaos.zygote import Zygote
from tests.programs import Process, wait_for

KINDS = ("sqlite", "postgres")
EVERY = tuple((action, half) for action in ACTIONS for half in (0, 1))
_AT_ONCE = 6  # worlds
_PATIENCE = 90.0  # seconds; a record whose removal took too long is left alone for one minute


class Scene(NamedTuple):
    """How a point is reached. spec: what the program is armed with. program: web or worker. play: what visitors and
    staff do, given the world and the number of the scene."""

    point: str
    spec: str
    program: str
    play: Callable[[Stage, int], None]

    @property
    def sign(self) -> str:
        """What the program prints when it is there."""
        point, action = self.spec.split(",")[-1].split(":")[:2]
        return f"failpoint {point}:{action}\n"


class Stage:
    """A world in which one scene after the other is played."""

    web: Process

    def __init__(self, world: World) -> None:
        self.world, self.log, self.people = world, Log(), 0
        self._desk: requests.Session | None = None

    def contacts(self) -> list[dict[str, Any]]:
        """What the CRM holds."""
        return self.world.contacts(self.world.crm)

    def form(self, number: int, visitor: str = "") -> int:
        """Somebody writes, and again until she is thanked. Returns how often."""
        body = {"id": f"form-{number}{visitor}", "email": f"person{number}@example.com", "consent": True}
        return self._post("consultations", body | ({"visitor_id": visitor} if visitor else {}))

    def call(self, number: int) -> None:
        """Somebody not yet known taps on “call us”."""
        self._post("call-clicks", {"id": f"call-{number}", "visitor_id": f"caller-{number}"})

    def _post(self, path: str, body: dict[str, Any]) -> int:
        before = self.log.numbers["posts"]
        answer = wait_for(lambda: self._try(f"{self.world.url}/api/v1/{path}", body | {"site": "demo"}))
        self.log.thank(body["id"], UUID(answer["id"]), late=False)
        return self.log.numbers["posts"] - before

    def _try(self, url: str, body: dict[str, Any]) -> Any:
        self.log.count("posts")
        with suppress(requests.RequestException):
            answer = requests.post(url, json=body, timeout=10)
            return answer.json() if answer.status_code == 201 else None
        self.revive()
        return None

    def revive(self) -> None:
        """Start the web again when it has ended."""
        if self.web.poll() is not None:
            self.web = self.world.web()

    def send_again(self) -> None:
        """Staff press the button, and again until the page comes back."""
        self._sign_in()
        wait_for(lambda: self._press(self.world.url))

    def erase(self, number: int) -> None:
        """An admin erases whoever wrote this form, and presses again until the page comes back."""
        self._sign_in()
        events = self.log.thanked[f"form-{number}"]
        with self.world.database.read() as session:
            [lead_id] = session.scalars(select(Event.lead_id).where(Event.id.in_(events)))
        wait_for(lambda: self._press_erase(f"{self.world.url}/desk/leads/{lead_id}/erase"))
        self.log.erased |= events
        self.people -= 1

    def _sign_in(self) -> None:
        self._desk = self._desk or self.world.desk("admin")

    def _press_erase(self, url: str) -> bool:
        assert self._desk
        with suppress(requests.RequestException):
            token = re.search(r'name="csrf_token" value="([^"]+)"', self._desk.get(url, timeout=10).text)
            if token:
                return self._desk.post(url, data={"csrf_token": token[1]}, timeout=10).ok
        self.revive()
        return False

    def _press(self, url: str) -> bool:
        assert self._desk
        with suppress(requests.RequestException):
            lead = re.search(r"/desk/leads/[0-9a-f-]{36}", self._desk.get(f"{url}/desk/leads", timeout=10).text)
            page = self._desk.get(url + lead[0], timeout=10).text if lead else ""
            token = re.search(r'name="csrf_token" value="([^"]+)"', page)
            action = re.search(r"/desk/deliveries/[0-9a-f-]{36}/send-again", page)
            if token and action:
                return self._desk.post(url + action[0], data={"csrf_token": token[1]}, timeout=10).ok
        self.revive()
        return False


def _somebody_writes(stage: Stage, number: int) -> None:
    stage.people += 1
    stage.form(number)


def _a_caller_becomes_known(stage: Stage, number: int) -> None:
    stage.form(number, visitor=f"caller-{number}")


def _staff_send_again(stage: Stage, number: int) -> None:
    stage.send_again()


def _somebody_is_erased(stage: Stage, number: int) -> None:
    stage.erase(number)


def _somebody_is_erased_on_the_way(stage: Stage, number: int) -> None:
    """The CRM has her and what she wrote, and we are about to learn of it. Had it her alone, as when a busy machine
    breaks off the call between the two, a person would have to look for her there."""
    _somebody_writes(stage, number)
    email = f"person{number}@example.com"
    wait_for(lambda: any(one["properties"].get("email") == email and one["activities"] for one in stage.contacts()))
    stage.erase(number)


def scenes(action: str) -> list[Scene]:
    """One for every point, and one for each further request that a push makes."""
    other = {
        "accept": ("web", _somebody_writes),
        "requeue": ("web", _staff_send_again),
        "retire": ("worker", _a_caller_becomes_known),
        "forget": ("web", _somebody_is_erased),
        "erase": ("worker", _somebody_is_erased),
    }
    found = []
    for point in POINTS:
        program, play = other.get(point.split(".", maxsplit=1)[0], ("worker", _somebody_writes))
        # Something is given back only by a worker that is told to stop while it claims.
        first = "claim.written:term," if point.startswith("returned.") else ""
        found.append(Scene(point, f"{first}{point}:{action}", program, play))
    # The person is written and the activity is not; both are, and are about to be read back.
    found += [Scene("call.begun", f"call.begun:{action}:{n}", "worker", _somebody_writes) for n in (2, 3)]
    # The CRM is about to be told to erase; it has taken somebody who is erased before we know.
    found.append(Scene("call.begun", f"call.begun:{action}", "worker", _somebody_is_erased))
    return [*found, Scene("push.answered", f"push.answered:{action}", "worker", _somebody_is_erased_on_the_way)]


def play_all(world: World, played: Sequence[Scene]) -> Figures:
    """Arm a program for one scene after the other, let it happen, and compare the books."""
    figures, stage = Figures(), Stage(world)
    stage.web = world.web()
    _prepare_customer(stage, 1000)  # whose enquiry staff can send again
    for number, scene in enumerate(played):
        if prepare := _BEFORE.get(scene.play):
            prepare(stage, number)
        before = world.logged(scene.sign)
        _play(stage, scene, number)
        figures.must(world.logged(scene.sign) > before, f"{scene.spec} was never reached")
        figures.must(not left(world), f"{scene.spec}: all is in the CRM: {left(world)} left")
        figures.add("stops")
    check(figures, stage.log, world, people=stage.people)
    return figures


def _prepare_customer(stage: Stage, number: int) -> None:
    """Somebody whose enquiry has arrived."""
    _somebody_writes(stage, number)
    _with_worker(stage)


def _prepare_caller(stage: Stage, number: int) -> None:
    """A known person, and a call by somebody not known, each with a record of their own."""
    _somebody_writes(stage, number)
    stage.call(number)
    _with_worker(stage)


_BEFORE = {_a_caller_becomes_known: _prepare_caller, _somebody_is_erased: _prepare_customer}


def _with_worker(stage: Stage) -> None:
    worker = stage.world.worker()
    drain(stage.world, _PATIENCE)
    stage.world.end(worker)


def _play(stage: Stage, scene: Scene, number: int) -> None:
    if scene.program == "web":
        stage.world.end(stage.web)
        stage.web = stage.world.web(fail_at=scene.spec)
        scene.play(stage, number)
        _with_worker(stage)
        return
    before = stage.world.logged(scene.sign)
    armed = stage.world.worker(fail_at=scene.spec)
    scene.play(stage, number)
    with suppress(AssertionError):  # the caller tells that it was not
        wait_for(lambda: stage.world.logged(scene.sign) > before, 20)
    heir = stage.world.worker()
    drain(stage.world, _PATIENCE)
    stage.world.end(armed)
    drain(stage.world, _PATIENCE)  # one that paused may have told only now that it wrote somebody who is to be erased
    stage.world.end(heir)


def run(plan: Plan) -> Figures:
    """All actions on both databases, one after the other; a short run plays some of them, by chance."""
    figures, cases = Figures(), [(kind, *one) for kind in KINDS for one in EVERY]
    plan.dice("cases").shuffle(cases)
    chosen = cases[: plan.count(len(cases), 2)]
    for kind in KINDS:
        figures.take(run_on(kind, plan.folder, [(action, half) for where, action, half in chosen if where == kind]))
        plan.say(f"{kind}: {figures.numbers.get('stops', 0):g} points so far")
    return figures


def run_on(kind: str, folder: Path, halves: Sequence[tuple[str, int]] = EVERY) -> Figures:
    """Points × actions on one database, in several worlds at once, since most of the time is waiting.

    halves: (action, which half of the points: 0 or 1).
    """
    figures = Figures()
    if not halves:
        return figures
    with ExitStack() as stack:
        zygote = stack.enter_context(Zygote())
        urls = fresh_databases(stack, folder, kind, [f"{action}{half}" for action, half in halves])
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))

        def play(url: str, action: str, half: int) -> Figures:
            with ExitStack() as inner:
                home = folder / f"{kind}-{action}{half}"
                home.mkdir()
                return play_all(open_world(inner, home, url, zygote), scenes(action)[half::2])

        for one in pool.map(play, urls, *zip(*halves, strict=True)):
            figures.take(one)
    return figures
