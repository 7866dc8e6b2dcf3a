"""50 workers frozen by SIGSTOP with the CRM's answer in hand, past their lease; another takes over, then they go on.

And three healthy workers at once on one queue, by the CRM's own count: nothing is pushed by two.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from uuid import UUID

import requests

from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.visitors import Log, Visitors, plan_visits
from tests.chaos.world import World, fresh_database, open_world
from tests.chaos.zygote import Zygote
from tests.programs import frozen, wait_for

KINDS = ("sqlite", "postgres")
ZOMBIES, SHARED = 50, 400
_SITES = 5  # each has a lane of its own, so that as many workers can freeze at once
_FENCED, _STARTED = '"fenced": 1', '"worker started"'


def run(plan: Plan) -> Figures:
    """Half of the zombies on each database, side by side: both do little but wait."""
    figures = Figures()
    with ThreadPoolExecutor(len(KINDS)) as pool:
        for one in pool.map(lambda kind: _run_on(plan, kind), KINDS):
            figures.take(one)
    return figures


def _run_on(plan: Plan, kind: str) -> Figures:
    with ExitStack() as stack:
        zygote = stack.enter_context(Zygote())
        figures = _freeze(plan, kind, stack, zygote)
        figures.take(_share(plan, kind, stack, zygote))
    return figures


def _freeze(plan: Plan, kind: str, stack: ExitStack, zygote: Zygote) -> Figures:
    figures, log = Figures(), Log()
    world = _world(plan, kind, "zombies", stack, zygote)
    for site in range(1, _SITES):
        world.connect(f"site{site}")
    world.web()
    rounds = -(-plan.count(ZOMBIES // 2, 1) // _SITES)
    for number in range(rounds):
        fenced = _one_round(world, log, number)
        figures.add("zombies", _SITES)
        figures.add("fenced", fenced)
        plan.say(f"{kind}: {(number + 1) * _SITES} zombies, {fenced} of the last {_SITES} fenced off")
        figures.must(fenced == _SITES, f"{kind}: a zombie's late word counts for nothing: {_SITES - fenced} counted")
    figures.must(drain(world, 30) is not None, f"{kind}: all is in the CRM: {left(world)} left")
    check(figures, log, world, people=rounds * _SITES)
    return figures


def _one_round(world: World, log: Log, number: int) -> int:
    """Freeze a worker per site with the answer in its hands. Returns how many were fenced off when they went on."""
    before, started = world.logged(_FENCED), world.logged(_STARTED)
    zombies = [world.worker(lanes="1", fail_at="push.answered:halt") for _ in range(_SITES)]
    # One that starts late would take over what another one holds, whose lease is short.
    wait_for(lambda: world.logged(_STARTED) - started == _SITES, 30)
    for site in range(_SITES):
        _post(world, log, "demo" if site == 0 else f"site{site}", f"{number}-{site}")
    wait_for(lambda: world.logged("push.answered:halt") == (number + 1) * _SITES)
    with frozen(world.database, zombies):  # their other threads write too
        heir = world.worker()
        took_over = drain(world, 60) is not None
    for zombie in zombies:
        zombie.send_signal(signal.SIGUSR2)
    assert took_over, f"nobody took over what the zombies held: {left(world)}"
    fenced = _until_fenced(world, before)
    world.end(*zombies, heir)
    return fenced


def _until_fenced(world: World, before: int) -> int:
    with suppress(AssertionError):  # the caller tells how many were not
        wait_for(lambda: world.logged(_FENCED) - before >= _SITES, 30)
    return world.logged(_FENCED) - before


def _post(world: World, log: Log, site: str, number: str) -> None:
    body = {"site": site, "id": f"zombie-{number}", "email": f"zombie{number}@example.com", "consent": True}
    answer = requests.post(f"{world.url}/api/v1/consultations", json=body, timeout=10)
    answer.raise_for_status()
    log.thank(str(body["id"]), UUID(answer.json()["id"]), late=False)


def _share(plan: Plan, kind: str, stack: ExitStack, zygote: Zygote) -> Figures:
    figures, number = Figures(), plan.count(SHARED // 2, 20)
    world = _world(plan, kind, "shared", stack, zygote, lease_seconds="30", crm_timeout="10")
    world.web()
    for _ in range(3):
        world.worker()
    visitors = Visitors(world.url, plan_visits(number, plan.dice(f"shared {kind}"), ("form", "form elsewhere")), 100)
    visitors.start()
    figures.must(visitors.finish(60), f"{kind}: every visitor is thanked")
    figures.must(drain(world, 60) is not None, f"{kind}: all is in the CRM: {left(world)} left")
    check(figures, visitors.log, world, people=int(number * 0.7))
    twice = sum(calls > 1 for calls in world.pushes().values())
    figures.must(twice == 0, f"{kind}: nothing is pushed by two of three workers: {twice} were")
    figures.add("shared", number)
    figures.add("pushed_by_two", twice)
    return figures


def _world(plan: Plan, kind: str, name: str, stack: ExitStack, zygote: Zygote, **settings: str) -> World:
    folder = plan.folder / f"{kind}-{name}"
    folder.mkdir()
    url = fresh_database(stack, folder, kind)
    return open_world(stack, folder, url, zygote, log_level="info", **settings)
