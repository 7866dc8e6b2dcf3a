"""Some websites alone: a session that finds nothing of the others, whichever query asks.

The condition is added where a statement is run, not where it is written, so that no page can forget it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, event, exists, or_, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from leads.store.alerts import OF_A_SITE
from leads.store.models import (
    Alert,
    Base,
    CanaryRun,
    Connection,
    Delivery,
    Drift,
    Erasure,
    Event,
    Lead,
    RemoteRecord,
    Replay,
    Resubmission,
    Site,
    Unreadable,
)
from leads.store.unindexed import one_of

_ONLY = "only_sites"  # what a session is kept to, in its `info`


def keep_to(session: Session, sites: Collection[UUID]) -> None:
    """From now on this session reads and changes rows of these websites alone; `get` finds no others either.

    What belongs to no website, such as who may sign in, stays as it was.
    """
    options = _conditions(session, list(sites))
    session.info[_ONLY] = sorted(sites)

    @event.listens_for(session, "do_orm_execute")
    def narrow(state: ORMExecuteState) -> None:
        if not (state.is_insert or state.is_column_load):
            state.statement = state.statement.options(*options)


def only_sites(session: Session) -> Sequence[UUID]:
    """The websites that this session is kept to, by whose indexes rows may be found; none where it is kept to no
    websites, or to none."""
    only: Sequence[UUID] = session.info.get(_ONLY, ())
    return only


def our_tests() -> Select[UUID]:
    """Ids of our own test enquiries, of whichever website: they are few, and have an index that knows no websites."""
    table = Event.__table__
    return select(table.c.id).where(table.c.is_test)


def _conditions(session: Session, sites: Sequence[UUID]) -> list[ExecutableOption]:
    """One for each table whose rows belong to a website, said so that no other index serves a statement than usual."""
    keys = session.scalars(select(Site.key).where(Site.id.in_(sites))).all()
    # Asked anew by each statement: one that was made meanwhile may have been given some of what is changed here.
    here = Connection.__table__
    connections = select(here.c.id).where(here.c.site_id.in_(sites))
    # Whatever statement it is added to asks for its own events as well, and would take this one's for them.
    its_event = exists().where(Event.id == Resubmission.event_id, one_of(Event.site_id, sites)).correlate_except(Event)
    named = or_(Alert.subject.in_(keys), *(Alert.subject.startswith(f"{key} ", autoescape=True) for key in keys))
    rows: dict[type[Base], ColumnElement[bool]] = {
        Site: one_of(Site.id, sites),
        **{model: one_of(model.site_id, sites) for model in (Lead, Event, Unreadable, Connection, CanaryRun, Replay)},
        **{model: one_of(model.connection_id, connections) for model in (Delivery, RemoteRecord, Erasure, Drift)},
        Resubmission: its_event,
        Alert: or_(Alert.connection_id.in_(connections), and_(Alert.kind.in_(OF_A_SITE), named)),
    }
    return [
        with_loader_criteria(model, here, include_aliases=True, propagate_to_loaders=False)
        for model, here in rows.items()
    ]
