"""A record that a CRM will not let be removed is tried ever less often, and then left to staff with the reason

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("remote_record", sa.Column("retire_tries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("remote_record", sa.Column("left_because", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("remote_record", "left_because")
    op.drop_column("remote_record", "retire_tries")
