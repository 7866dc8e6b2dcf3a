"""Required token: a site may hold enquiries that come without what our form carries

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site", sa.Column("require_token", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("site", "require_token")
