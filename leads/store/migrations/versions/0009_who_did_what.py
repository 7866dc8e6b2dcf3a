"""Who did what: actions name the lead that was looked at, and are found newest first and by what they are

The version before this one must go on working on the new schema: expand first, contract in a later release. It deletes
leads without knowing of lead_id, so the database itself deletes what refers to them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("action") as batch:
        batch.add_column(sa.Column("lead_id", sa.Uuid(), nullable=True))
        batch.create_foreign_key("fk_action_lead_id", "lead", ["lead_id"], ["id"], ondelete="CASCADE")
        batch.create_index("ix_action_lead_id", ["lead_id"])
        batch.create_index("ix_action_recent", ["at", "id"])
        batch.create_index("ix_action_what", ["what", "at", "id"])


def downgrade() -> None:
    with op.batch_alter_table("action") as batch:
        batch.drop_index("ix_action_what")
        batch.drop_index("ix_action_recent")
        batch.drop_index("ix_action_lead_id")
        batch.drop_constraint("fk_action_lead_id", type_="foreignkey")
        batch.drop_column("lead_id")
