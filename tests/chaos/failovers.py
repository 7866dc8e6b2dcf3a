"""20 promotions of a synchronous standby: the primary is killed under load, the programs find the other by themselves.

`synchronous_standby_names` is never taken off: after a promotion nothing is acknowledged until the next standby
follows, so that no moment exists in which an acknowledged row is on one machine only.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.chaos.plan import Figures, Plan
from tests.chaos.postgres import Cluster, Postgres, url_of
from tests.chaos.postgres_stops import WAVE, blows, open_for, settle
from tests.chaos.visitors import Visitors, plan_visits
from tests.chaos.world import open_world
from tests.chaos.zygote import Zygote

PROMOTIONS = 20
RATE = 20.0  # visits per second, in waves as in postgres_stops


def run(plan: Plan) -> Figures:
    """Kill the primary, promote the standby, make the old primary the new standby; over and over."""
    figures = Figures()
    with ExitStack() as stack:
        primary, standby = _pair(stack.enter_context(Postgres()))
        world = open_world(stack, plan.folder, url_of(primary, standby), stack.enter_context(Zygote()))
        world.web()
        for _ in range(2):
            world.worker()
        world.wait_until_up()
        promotions = plan.count(PROMOTIONS, 2)
        posts = int(open_for(plan) * RATE)
        visitors = Visitors(world.url, plan_visits(posts, plan.dice("visits")), RATE, wave=WAVE)
        visitors.start()
        for number in blows(plan, promotions, visitors):
            primary.kill()
            standby.promote()
            _join(primary, standby)
            primary, standby = standby, primary
            figures.add("promotions")
            plan.say(f"{number} of {promotions} promotions, {visitors.done} thanked")
        settle(plan, figures, world, visitors, posts)
    return figures


def _pair(postgres: Postgres) -> tuple[Cluster, Cluster]:
    primary, standby = postgres.started("one"), postgres.cluster("two")
    standby.follow(primary)
    standby.start()
    primary.wait_for_each_other()
    return primary, standby


def _join(standby: Cluster, primary: Cluster) -> None:
    standby.follow(primary)
    standby.start()
    primary.until_in_step()
