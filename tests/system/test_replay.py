"""A replay with real processes: the worker is killed in the middle; nothing is lost and nothing is sent again twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlalchemy import func, select, update

from leads.store.models import Action, Delivery, Replay
from leads.store.outbox.replays import Chosen, start_replay
from leads.store.sites import find_site
from tests.chaos.zygote import Zygote
from tests.factory import send
from tests.programs import Programs, wait_for

NUMBER = 250


def _replay(programs: Programs) -> Replay:
    with programs.database.read() as session:
        return session.scalars(select(Replay)).one()


def _states(programs: Programs) -> dict[str, int]:
    with programs.database.read() as session:
        return dict(session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())


def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(
    tmp_path: Path, database_url: str, zygote: Zygote
) -> None:
    with Programs(tmp_path, database_url, zygote=zygote) as programs:
        programs.sandbox()
        programs.connect()
        with programs.database.write() as session:
            site = find_site(session, "demo")
        assert site is not None
        for number in range(NUMBER):
            send(programs.database, programs.vault, site, email=f"p{number}@example.com")
        with programs.database.write() as session:
            session.execute(update(Delivery).values(state="refused", code="bad_mail", sentence="No."))
            start_replay(session, programs.vault, Chosen("refused"), "anna", programs.database.now(session))
        worker = programs.worker()
        wait_for(lambda: 0 < _replay(programs).done < NUMBER, every=0.01)
        worker.kill()
        worker.wait()
        assert _replay(programs).state == "running"
        programs.worker()
        wait_for(lambda: _replay(programs).state == "finished", 60)
        wait_for(lambda: _states(programs) == {"confirmed": NUMBER}, 60)
        row = _replay(programs)
        assert (row.total, row.done, row.skipped) == (NUMBER, NUMBER, 0)
        with programs.database.read() as session:
            again = Counter(session.scalars(select(Action.delivery_id).where(Action.what == "send_again")))
        assert set(again.values()) == {1}
        assert len(again) == NUMBER
        assert len(programs.activities()) == NUMBER
