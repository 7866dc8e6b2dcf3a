"""Programs are stopped, broken and killed for real, at every named point between commit and finish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from leads.store.failpoint import ACTIONS, POINTS
from tests.chaos import failpoints
from tests.chaos.ledger import check, drain
from tests.chaos.plan import Figures
from tests.chaos.world import World, open_world
from tests.chaos.zygote import Zygote


@pytest.fixture
def world(tmp_path: Path, database_url: str, zygote: Zygote) -> Iterator[World]:
    with ExitStack() as stack:
        yield open_world(stack, tmp_path, database_url, zygote)


@pytest.mark.parametrize("action", ACTIONS)
def test_there_is_a_scene_for_every_point(action: str) -> None:
    assert {scene.point for scene in failpoints.scenes(action)} == set(POINTS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", failpoints.KINDS)
def test_nothing_is_lost_or_doubled_wherever_a_program_stops(kind: str, tmp_path: Path) -> None:
    """Every point × action on one of the two databases in turn; `make chaos` plays all on both."""
    first = failpoints.KINDS.index(kind)
    halves = [(action, (first + number) % 2) for number, action in enumerate(ACTIONS)]
    figures = failpoints.run_on(kind, tmp_path, halves)
    assert figures.broken == []
    assert figures.numbers["stops"] >= len(POINTS) * len(ACTIONS) / 2


def test_a_web_that_is_told_to_stop_finishes_the_request(world: World) -> None:
    figures, stage = Figures(), failpoints.Stage(world)
    for number, point in enumerate(("accept.written", "accept.committed")):
        stage.web = world.web(fail_at=f"{point}:term")
        assert stage.form(number) == 1, "the visitor had to send it again"
        assert stage.web.wait(60) == 0
        stage.people += 1
    world.worker()
    assert drain(world, 90) is not None
    check(figures, stage.log, world, people=2)
    assert figures.broken == []
