"""500 kill -9 at random moments of web and workers, while visitors post and the CRM misbehaves in 30 % of its calls.

Half of it runs on SQLite, half on PostgreSQL, side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random

from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.visitors import Visitors, plan_visits
from tests.chaos.world import SETTLE, World, behave, fresh_database, misbehave, open_world
from tests.chaos.zygote import Zygote

KINDS = ("sqlite", "postgres")
KILLS, POSTS = 500, 5000
_WORKERS = 3
_DRAIN = 60.0  # seconds within which everything must be in the CRM once the faults are over


def run(plan: Plan) -> Figures:
    """Kill on both databases; the figures are the sums, `drained_in` is the longer of the two."""
    figures = Figures()
    with ThreadPoolExecutor(len(KINDS)) as pool:
        for one in pool.map(lambda kind: _run_on(kind, plan), KINDS):
            figures.take(one)
    return figures


def _run_on(kind: str, plan: Plan) -> Figures:
    figures = Figures()
    kills, posts = plan.count(KILLS // 2, 5), plan.count(POSTS // 2, 50)
    visits = plan_visits(posts, plan.dice(f"visits {kind}"))
    with ExitStack() as stack:
        folder = plan.folder / kind
        folder.mkdir()
        url = fresh_database(stack, folder, kind)
        world = open_world(stack, folder, url, stack.enter_context(Zygote()))
        world.add_tier_b(SETTLE)
        misbehave(world, plan.dice(f"crm {kind}"))
        visitors = Visitors(world.url, visits, posts / max(plan.left() * 0.6, 4))
        visitors.start()
        for number, is_web in enumerate(_kill(world, visitors, kills, plan.dice(f"kills {kind}")), 1):
            figures.add("web_kills" if is_web else "worker_kills")
            if number % 25 == 0:
                plan.say(f"{kind}: {number} of {kills} kills, {visitors.done} thanked")
        figures.must(visitors.finish(60), f"{kind}: every visitor is thanked in the end: {visitors.done} of {posts}")
        _count_faults(world, figures)
        behave(world)
        took = drain(world, _DRAIN)
        figures.must(took is not None, f"{kind}: all is in the CRM {_DRAIN:g} s after the faults: {left(world)} left")
        figures.numbers["drained_in"] = took or _DRAIN
        check(figures, visitors.log, world, people=int(posts * 0.7))
        figures.add("posts", visitors.log.numbers["posts"])
    return figures


def _kill(world: World, visitors: Visitors, kills: int, dice: Random) -> Iterator[bool]:
    """Web 40 %, workers 60 %; each is started again at once. Yields whether it was the web.

    The blows follow the visitors: on a slow machine a web that never lives to answer would prove nothing.
    """
    web, workers = world.web(), [world.worker() for _ in range(_WORKERS)]
    for number in range(kills):
        visitors.wait_for((number + dice.random()) / kills * 0.9)
        is_web, place = dice.random() < 0.4, dice.randrange(_WORKERS)
        victim = web if is_web else workers[place]
        victim.kill()
        victim.wait()
        if is_web:
            web = world.start("leads", "web")
        else:
            workers[place] = world.worker()
        yield is_web


def _count_faults(world: World, figures: Figures) -> None:
    calls = world.calls()
    met = sum(number for outcome, number in calls.items() if outcome not in ("200", "204", "207"))
    figures.add("faults_met", met)
    figures.add("crm_calls", sum(calls.values()))
