"""Erasure on request: who was erased, and what is still to be erased in which CRM

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ERASED, _OPEN = sa.text("erased_at IS NOT NULL"), sa.text("ended_at IS NULL")
_STATES = ("waiting", "done", "needs_you", "handled")


def upgrade() -> None:
    op.add_column("lead", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lead", sa.Column("erased_by", sa.String(length=200), nullable=True))
    op.create_index("ix_lead_erased", "lead", ["site_id", "id"], sqlite_where=_ERASED, postgresql_where=_ERASED)
    op.create_table(
        "erasure",
        sa.Column("lead_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("remote_ids", sa.JSON(), nullable=False),
        sa.Column("copies", sa.JSON(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("state", sa.Enum(*_STATES, native_enum=False, length=24), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_erasure_connection_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_erasure_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", "connection_id", name=op.f("pk_erasure")),
    )
    op.create_index(
        "ix_erasure_open", "erasure", ["connection_id", "due_at"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )


def downgrade() -> None:
    op.drop_index("ix_erasure_open", table_name="erasure")
    op.drop_table("erasure")
    op.drop_index("ix_lead_erased", table_name="lead")
    # Not by a batch, which would make the table anew under all that refers to it.
    op.drop_column("lead", "erased_by")
    op.drop_column("lead", "erased_at")
