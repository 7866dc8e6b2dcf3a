"""Hook address: a site's address for form plugins can be changed

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site", sa.Column("hook_salt", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("site", "hook_salt")
