"""Growth: what few rows are is found without the many, and a record by its id in the CRM

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UNSEEN, _LOOKED_AT = sa.text("seen_at IS NULL"), sa.text("check_at IS NOT NULL")
_CHECK = ["connection_id", "state", "check_at"]


def upgrade() -> None:
    op.create_index(
        "ix_resubmission_unseen", "resubmission", ["event_id"], sqlite_where=_UNSEEN, postgresql_where=_UNSEEN
    )
    op.create_index("ix_remote_record_remote", "remote_record", ["connection_id", "remote_id"])
    op.create_index(
        "ix_remote_record_retiring",
        "remote_record",
        ["connection_id"],
        sqlite_where=sa.text("retire IS 1"),
        postgresql_where=sa.text("retire IS true"),
    )
    op.drop_index("ix_remote_record_retire", table_name="remote_record")
    op.create_index("ix_event_site_day", "event", ["site_id", "received_at", "is_test", "kind", "id"])
    op.drop_index("ix_event_site_received", table_name="event")
    op.drop_index("ix_delivery_check", table_name="delivery")
    op.create_index("ix_delivery_check", "delivery", _CHECK, sqlite_where=_LOOKED_AT, postgresql_where=_LOOKED_AT)


def downgrade() -> None:
    op.drop_index("ix_delivery_check", table_name="delivery")
    op.create_index("ix_delivery_check", "delivery", _CHECK)
    op.create_index("ix_event_site_received", "event", ["site_id", "received_at"])
    op.drop_index("ix_event_site_day", table_name="event")
    op.create_index("ix_remote_record_retire", "remote_record", ["connection_id", "retire"])
    op.drop_index("ix_remote_record_retiring", table_name="remote_record")
    op.drop_index("ix_remote_record_remote", table_name="remote_record")
    op.drop_index("ix_resubmission_unseen", table_name="resubmission")
