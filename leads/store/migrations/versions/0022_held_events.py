"""What is held is found by its website, since where no connection is, there is no delivery to find it by

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_HELD = sa.text("hold_code IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_event_held", "event", ["site_id", "hold_code"], sqlite_where=_HELD, postgresql_where=_HELD)


def downgrade() -> None:
    op.drop_index("ix_event_held", "event")
