"""Drift, canary, replays, alerts and shared tasks

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replay",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_by", sa.String(length=200), nullable=False),
        sa.Column("chosen", sa.JSON(), nullable=False),
        sa.Column("state", sa.Enum("running", "stopped", "finished", native_enum=False, length=24), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("after", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replay")),
    )
    with op.batch_alter_table("replay", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_replay_state"), ["state"], unique=False)

    op.create_table(
        "task",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_task")),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_alert_connection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.create_index("ix_alert_began_at", ["began_at"], unique=False)
        batch_op.create_index(
            "uq_alert_open",
            ["kind", "subject"],
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "canary_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("started_by", sa.String(length=200), nullable=False),
        sa.Column("state", sa.Enum("running", "ok", "failed", native_enum=False, length=24), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_canary_run_event_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_canary_run_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canary_run")),
    )
    with op.batch_alter_table("canary_run", schema=None) as batch_op:
        batch_op.create_index("ix_canary_run_recent", ["site_id", "started_at"], unique=False)

    op.create_table(
        "drift",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("deleted", "changed", "duplicated", "never_stored", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("remote_ids", sa.JSON(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_drift_connection_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_drift_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift")),
    )
    with op.batch_alter_table("drift", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_drift_delivery_id"), ["delivery_id"], unique=False)
        batch_op.create_index("ix_drift_open", ["settled_at", "found_at"], unique=False)

    # Not in a batch, which would make the tables anew, and on SQLite no table goes that others lead to.
    op.add_column("event", sa.Column("is_test", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_event_is_test", "event", ["id"], sqlite_where=sa.text("is_test = 1"), postgresql_where=sa.text("is_test")
    )
    op.add_column("lead", sa.Column("is_test", sa.Boolean(), server_default=sa.false(), nullable=False))

    with op.batch_alter_table("remote_record", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_fields", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("retire_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("remote_record", schema=None) as batch_op:
        batch_op.drop_column("retire_at")
        batch_op.drop_column("seen_at")
        batch_op.drop_column("seen_fields")

    with op.batch_alter_table("lead", schema=None) as batch_op:
        batch_op.drop_column("is_test")

    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_event_is_test", sqlite_where=sa.text("is_test = 1"), postgresql_where=sa.text("is_test")
        )
        batch_op.drop_column("is_test")

    with op.batch_alter_table("drift", schema=None) as batch_op:
        batch_op.drop_index("ix_drift_open")
        batch_op.drop_index(batch_op.f("ix_drift_delivery_id"))

    op.drop_table("drift")
    with op.batch_alter_table("canary_run", schema=None) as batch_op:
        batch_op.drop_index("ix_canary_run_recent")

    op.drop_table("canary_run")
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_alert_open", sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL")
        )
        batch_op.drop_index("ix_alert_began_at")

    op.drop_table("alert")
    op.drop_table("task")
    with op.batch_alter_table("replay", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_replay_state"))

    op.drop_table("replay")
