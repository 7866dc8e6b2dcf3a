"""Websites of a user: somebody of one clinic need not see the enquiries of the others

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user", sa.Column("only_sites", sa.JSON(), nullable=True))
    op.add_column("replay", sa.Column("site_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("replay", "site_id")
    op.drop_column("user", "only_sites")
