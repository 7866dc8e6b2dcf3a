"""Indexes that let a large store be counted without reading it, and that hold only what is looked for

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LOOKED_AT, _UNSEEN = sa.text("check_at IS NOT NULL"), sa.text("seen_at IS NULL")
_CHECK = ["connection_id", "state", "check_at"]


def upgrade() -> None:
    op.drop_index("ix_event_site_received", table_name="event")
    op.create_index("ix_event_site_received", "event", ["site_id", "received_at", "kind", "is_test", "id"])
    op.drop_index("ix_delivery_check", table_name="delivery")
    op.create_index("ix_delivery_check", "delivery", _CHECK, sqlite_where=_LOOKED_AT, postgresql_where=_LOOKED_AT)
    op.create_index(
        "ix_resubmission_unseen", "resubmission", ["event_id"], sqlite_where=_UNSEEN, postgresql_where=_UNSEEN
    )


def downgrade() -> None:
    op.drop_index("ix_resubmission_unseen", table_name="resubmission")
    op.drop_index("ix_delivery_check", table_name="delivery")
    op.create_index("ix_delivery_check", "delivery", _CHECK)
    op.drop_index("ix_event_site_received", table_name="event")
    op.create_index("ix_event_site_received", "event", ["site_id", "received_at"])
