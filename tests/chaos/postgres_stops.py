"""200 immediate stops of PostgreSQL while visitors post and workers deliver: a crash of the server, fsync on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.postgres import Postgres, url_of
from tests.chaos.visitors import Visitors, plan_visits
from tests.chaos.world import World, open_world
from tests.chaos.zygote import UNKNOWN_COMMIT, Zygote

STOPS = 200
RATE, WAVE = 30.0, 15  # visits per second; that many come at once, so that a stop often meets a commit
SHARE = 0.8  # of the part's time; the rest is for the queue to drain
_LEAST = 4.0
HIT = 0.12  # seconds of a wave within which it is stopped


def run(plan: Plan) -> Figures:
    """Stop, start, let it work a moment, and again."""
    figures = Figures()
    with ExitStack() as stack:
        cluster = stack.enter_context(Postgres()).started()
        world = open_world(stack, plan.folder, url_of(cluster), stack.enter_context(Zygote()))
        world.web()
        for _ in range(2):
            world.worker()
        world.wait_until_up()
        stops = plan.count(STOPS, 5)
        posts = int(open_for(plan) * RATE)
        visitors = Visitors(world.url, plan_visits(posts, plan.dice("visits")), RATE, wave=WAVE)
        visitors.start()
        for number in blows(plan, stops, visitors):
            cluster.crash()
            cluster.start()
            figures.add("stops")
            if number % 20 == 0:
                plan.say(f"{number} of {stops} stops, {visitors.done} thanked")
        settle(plan, figures, world, visitors, posts)
    return figures


def open_for(plan: Plan) -> float:
    """Seconds for which visitors come; a few even where making the servers took all the time."""
    return max(plan.left() * SHARE, _LEAST)


def blows(plan: Plan, number: int, visitors: Visitors) -> Iterator[int]:
    """Sleep until each of as many moments, spread over the part's time: a wave of visitors has just come."""
    dice, began, apart = plan.dice("blows"), time.monotonic(), open_for(plan) / number
    for one in range(number):
        time.sleep(max(began + (one + dice.random()) * apart - time.monotonic(), 0))
        visitors.wait_for_wave()
        time.sleep(dice.uniform(0, HIT))
        yield one + 1


def settle(plan: Plan, figures: Figures, world: World, visitors: Visitors, posts: int) -> None:
    """The server stays: everyone is thanked, and everything arrives."""
    figures.must(visitors.finish(60), f"every visitor is thanked in the end: {visitors.done} of {posts}")
    took = drain(world, 60)
    figures.must(took is not None, f"all is in the CRM 60 s after the last stop: {left(world)} left")
    figures.numbers["drained_in"] = took or 60
    check(figures, visitors.log, world, people=int(posts * 0.7))
    figures.add("posts", visitors.log.numbers["posts"])
    figures.add("unknown_commits", world.logged(UNKNOWN_COMMIT))
    figures.add("unknown_but_stored", visitors.log.numbers["late"])
    if plan.scale >= 1:
        unknown = figures.numbers["unknown_commits"]
        figures.must(unknown > 0, "no commit of unknown outcome was met: the run proves nothing")
