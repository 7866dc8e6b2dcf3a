"""A connection knows when its last calls started, so that one that comes late costs the next ones nothing

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connection", sa.Column("pace_starts", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("connection", "pace_starts")
