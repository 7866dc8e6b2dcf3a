"""Codes of events: each enquiry has a code of its own, so that none tells whether its sender was known

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_OWN = sa.text("code IS NOT NULL")


def upgrade() -> None:
    op.add_column("event", sa.Column("code", sa.String(8), nullable=True))
    op.create_index("ix_event_code", "event", ["code"], sqlite_where=_OWN, postgresql_where=_OWN)


def downgrade() -> None:
    op.drop_index("ix_event_code", "event")
    op.drop_column("event", "code")
