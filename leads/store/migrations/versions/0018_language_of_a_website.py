"""Language of a website: in which its visitors are spoken to

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site", sa.Column("language", sa.String(), server_default="en", nullable=False))


def downgrade() -> None:
    op.drop_column("site", "language")
