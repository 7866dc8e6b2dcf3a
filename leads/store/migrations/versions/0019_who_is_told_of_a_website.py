"""Who is told of a website: a clinic's own people hear of its faults, and of no other clinic's

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site", sa.Column("alert_emails", sa.JSON(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("site", "alert_emails")
