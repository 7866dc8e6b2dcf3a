"""200 immediate stops of PostgreSQL while visitors post and workers deliver: a crash of the server, fsync on."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.chaos.ledger import check, drain, left
from tests.chaos.plan import Figures, Plan
from tests.chaos.postgres import Postgres, url_of
from tests.chaos.visitors import Visitors, plan_visits
from tests.chaos.world import World, open_world
from tests.chaos.zygote import UNKNOWN_COMMIT, Zygote

STOPS = 200
RATE = 30.0  # visits per second: enough that a stop often meets a commit


def run(plan: Plan) -> Figures:
    """Stop, start, let it work a moment, and again."""
    figures, dice = Figures(), plan.dice("stops")
    with ExitStack() as stack:
        cluster = stack.enter_context(Postgres()).started()
        world = open_world(stack, plan.folder, url_of(cluster), stack.enter_context(Zygote()))
        world.web()
        for _ in range(2):
            world.worker()
        stops = plan.count(STOPS, 5)
        pause = max(plan.left() * 0.85 / stops - 0.35, 0.1)
        posts = int(stops * (pause + 0.35) * RATE)
        visitors = Visitors(world.url, plan_visits(posts, plan.dice("visits")), RATE)
        visitors.start()
        for number in range(1, stops + 1):
            time.sleep(pause * dice.uniform(0.3, 1.7))
            cluster.stop("immediate")
            cluster.start()
            figures.add("stops")
            if number % 20 == 0:
                plan.say(f"{number} of {stops} stops, {visitors.done} thanked")
        settle(figures, world, visitors, posts)
    return figures


def settle(figures: Figures, world: World, visitors: Visitors, posts: int) -> None:
    """The server stays: everyone is thanked, everything arrives, and the stops must have met commits."""
    figures.must(visitors.finish(60), f"every visitor is thanked in the end: {visitors.done} of {posts}")
    took = drain(world, 60)
    figures.must(took is not None, f"all is in the CRM 60 s after the last stop: {left(world)} left")
    figures.numbers["drained_in"] = took or 60
    check(figures, visitors.log, world, people=int(posts * 0.7))
    figures.add("posts", visitors.log.numbers["posts"])
    figures.add("unknown_commits", world.logged(UNKNOWN_COMMIT))
    figures.add("unknown_but_stored", visitors.log.numbers["late"])
    figures.must(visitors.log.numbers["late"] > 0, "no commit of unknown outcome was met: the run proves nothing")
