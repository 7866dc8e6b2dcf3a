"""Every named point × kill, SIGTERM, exception, pause, on both databases: all visited, all hold.

A point that no scene here reaches is a failure: the list in `leads.store.failpoint` is what must be visited.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple
from uuid import UUID

import requests

from leads.store.failpoint import ACTIONS, POINTS
from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.visitors import Log
from tests.chaos.world import World, fresh_database, open_world
from tests.chaos.zygote import Zygote
from tests.programs import Process, wait_for

KINDS = ("sqlite", "postgres")


class Scene(NamedTuple):
    """How a point is reached. spec: what the program is armed with. program: web or worker. play: what visitors and
    staff do, given the world and the number of the scene."""

    point: str
    spec: str
    program: str
    play: Callable[[Stage, int], None]


class Stage:
    """A world in which one scene after the other is played."""

    def __init__(self, world: World) -> None:
        self.world, self.log, self.people = world, Log(), 0
        self._desk: requests.Session | None = None

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
        self._desk = self._desk or self.world.desk()
        wait_for(lambda: self._press(self.world.url))

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

    web: Process


def _somebody_writes(stage: Stage, number: int) -> None:
    stage.people += 1
    stage.form(number)


def _a_caller_becomes_known(stage: Stage, number: int) -> None:
    stage.form(number, visitor=f"caller-{number}")


def _staff_send_again(stage: Stage, number: int) -> None:
    stage.send_again()


def scenes(action: str) -> list[Scene]:
    """One for every point, and one for each further request that a push makes."""
    other = {"accept": ("web", _somebody_writes), "requeue": ("web", _staff_send_again)}
    other["retire"] = ("worker", _a_caller_becomes_known)
    found = []
    for point in POINTS:
        program, play = other.get(point.split(".", maxsplit=1)[0], ("worker", _somebody_writes))
        # Something is given back only by a worker that is told to stop while it claims.
        first = "claim.written:term," if point.startswith("returned.") else ""
        found.append(Scene(point, f"{first}{point}:{action}", program, play))
    # The person is written and the activity is not; both are, and are about to be read back.
    return found + [Scene("call.begun", f"call.begun:{action}:{n}", "worker", _somebody_writes) for n in (2, 3)]


def play_all(world: World, action: str, tell: Callable[[str], None] = lambda _: None) -> Figures:
    """Arm a program at each point in turn with this action, let it happen, and compare the books."""
    figures, stage = Figures(), Stage(world)
    stage.web = world.web()
    _first_customers(stage)
    for number, scene in enumerate(scenes(action)):
        if scene.play is _a_caller_becomes_known:
            _prepare_caller(stage, number)
        _play(stage, scene, number)
        reached = f"failpoint {scene.point}:{action}"
        figures.must(world.logged(reached) > 0, f"{scene.spec} was never reached")
        figures.must(not left(world), f"{scene.spec}: all is in the CRM: {left(world)} left")
        figures.add("stops")
        tell(f"{scene.spec}")
    check(figures, stage.log, world, people=stage.people)
    return figures


def _first_customers(stage: Stage) -> None:
    """One enquiry that has arrived, which staff can send again."""
    _somebody_writes(stage, 1000)
    _with_worker(stage)


def _prepare_caller(stage: Stage, number: int) -> None:
    """A known person, and a call by somebody not known, each with a record of their own."""
    _somebody_writes(stage, number)
    stage.call(number)
    _with_worker(stage)


def _with_worker(stage: Stage) -> None:
    worker = stage.world.worker()
    drain(stage.world, 30)
    worker.terminate()
    worker.wait(20)


def _play(stage: Stage, scene: Scene, number: int) -> None:
    if scene.program == "web":
        stage.web.terminate()
        stage.web.wait(20)
        stage.web = stage.world.web(fail_at=scene.spec)
        scene.play(stage, number)
        _with_worker(stage)
        return
    armed = stage.world.worker(fail_at=scene.spec)
    scene.play(stage, number)
    wait_for(lambda: stage.world.logged(scene.spec.split(",")[-1].removesuffix(":2").removesuffix(":3")), 20)
    heir = stage.world.worker()
    drain(stage.world, 30)
    for worker in (armed, heir):
        worker.terminate()
        try:
            worker.wait(20)
        except Exception:
            import os, time

            print("HUNG", scene.spec, worker is armed, worker.pid)
            os.kill(worker.pid, 10)
            time.sleep(1)
            print((stage.world.folder / "programs.log").read_text()[-6000:])
            raise


def run(plan: Plan) -> Figures:
    """All actions on both databases, each in a world of its own, two at a time."""
    cases = [(kind, action) for kind in KINDS for action in ACTIONS][: plan.count(8, 1)]
    figures = Figures()
    with ThreadPoolExecutor(2) as pool:
        for one in pool.map(lambda case: _case(plan, *case), cases):
            figures.take(one)
    return figures


def _case(plan: Plan, kind: str, action: str) -> Figures:
    with ExitStack() as stack:
        folder = plan.folder / f"{kind}-{action}"
        folder.mkdir()
        url = fresh_database(stack, folder, kind)
        figures = play_all(open_world(stack, folder, url, stack.enter_context(Zygote())), action)
        plan.say(f"{kind}: {figures.numbers['stops']:g} points × {action}")
        return figures
