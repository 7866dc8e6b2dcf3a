"""The first tables

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "site",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("time_zone", sa.String(length=200), nullable=False),
        sa.Column("region", sa.String(length=2), nullable=False),
        sa.Column("origins", sa.JSON(), nullable=False),
        sa.Column("thank_you_urls", sa.JSON(), nullable=False),
        sa.Column("consent_version", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("key", name=op.f("uq_site_key")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.Enum("admin", "staff", native_enum=False, length=24), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("one_time", sa.Boolean(), nullable=False),
        sa.Column("session", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "connection",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("options_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("share", sa.JSON(), nullable=False),
        sa.Column("unknown_callers", sa.Enum("record", "wait", native_enum=False, length=24), nullable=False),
        sa.Column("pace", sa.Double(), nullable=True),
        sa.Column("pace_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Enum("working", "failing", "paused", native_enum=False, length=24), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wait_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_worker", sa.String(length=200), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_connection_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection")),
    )
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_connection_site_id"), ["site_id"], unique=False)

    op.create_table(
        "consent_text",
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_consent_text_site_id")),
        sa.PrimaryKeyConstraint("site_id", "version", name=op.f("pk_consent_text")),
    )
    op.create_table(
        "lead",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=8), nullable=False),
        sa.Column("person_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("shareable", sa.Boolean(), nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merged_into"], ["lead.id"], name=op.f("fk_lead_merged_into")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_lead_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead")),
        sa.UniqueConstraint("code", name=op.f("uq_lead_code")),
    )
    with op.batch_alter_table("lead", schema=None) as batch_op:
        batch_op.create_index("ix_lead_recent", ["last_event_at", "id"], unique=False)
        batch_op.create_index("ix_lead_site_recent", ["site_id", "last_event_at", "id"], unique=False)

    op.create_table(
        "unreadable",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("body_digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_unreadable_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unreadable")),
        sa.UniqueConstraint("body_digest", name=op.f("uq_unreadable_body_digest")),
    )
    with op.batch_alter_table("unreadable", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_unreadable_seen_at"), ["seen_at"], unique=False)

    op.create_table(
        "event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("lead_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Enum("consultation_request", "call_click", native_enum=False, length=24), nullable=False),
        sa.Column("client_digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("body_digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("answers_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("consent_given", sa.Boolean(), nullable=True),
        sa.Column("consent_version", sa.String(length=200), nullable=True),
        sa.Column("hold_code", sa.String(length=200), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_event_lead_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_event_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("client_digest", name=op.f("uq_event_client_digest")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_lead_id"), ["lead_id"], unique=False)
        batch_op.create_index("ix_event_site_received", ["site_id", "received_at"], unique=False)

    op.create_table(
        "identity",
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("lead_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Enum("email", "phone", "visitor", native_enum=False, length=24), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_identity_lead_id")),
        sa.PrimaryKeyConstraint("digest", "lead_id", name=op.f("pk_identity")),
    )
    with op.batch_alter_table("identity", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_identity_lead_id"), ["lead_id"], unique=False)

    op.create_table(
        "remote_record",
        sa.Column("lead_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("remote_id", sa.String(length=200), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("retire", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_remote_record_connection_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_remote_record_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", "connection_id", name=op.f("pk_remote_record")),
    )
    with op.batch_alter_table("remote_record", schema=None) as batch_op:
        batch_op.create_index("ix_remote_record_retire", ["connection_id", "retire"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("lead_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "sending",
                "sent",
                "confirmed",
                "refused",
                "expired",
                "held",
                "handled",
                "erased",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Boolean(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.Column("field", sa.String(length=200), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("remote_id", sa.String(length=200), nullable=True),
        sa.Column("remote_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_delivery_connection_id")),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_delivery_event_id")),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_delivery_lead_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("event_id", "connection_id", name=op.f("uq_delivery_event_id_connection_id")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index("ix_delivery_check", ["connection_id", "state", "check_at"], unique=False)
        batch_op.create_index("ix_delivery_due", ["connection_id", "state", "due_at"], unique=False)
        batch_op.create_index("ix_delivery_lead", ["lead_id", "connection_id", "created_at"], unique=False)
        batch_op.create_index("ix_delivery_state", ["state", "created_at"], unique=False)

    op.create_table(
        "resubmission",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("body_digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("answers_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name=op.f("fk_resubmission_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resubmission")),
        sa.UniqueConstraint("event_id", "body_digest", name=op.f("uq_resubmission_event_id_body_digest")),
    )
    with op.batch_alter_table("resubmission", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_resubmission_event_id"), ["event_id"], unique=False)

    op.create_table(
        "action",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_name", sa.String(length=200), nullable=False),
        sa.Column("what", sa.String(length=200), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=True),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("note_sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], name=op.f("fk_action_connection_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_action_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action")),
    )
    with op.batch_alter_table("action", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_action_connection_id"), ["connection_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_action_delivery_id"), ["delivery_id"], unique=False)

    op.create_table(
        "attempt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=200), nullable=False),
        sa.Column("code", sa.String(length=200), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_attempt_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempt_delivery_id"), ["delivery_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempt_delivery_id"))

    op.drop_table("attempt")
    with op.batch_alter_table("action", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_action_delivery_id"))
        batch_op.drop_index(batch_op.f("ix_action_connection_id"))

    op.drop_table("action")
    with op.batch_alter_table("resubmission", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_resubmission_event_id"))

    op.drop_table("resubmission")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_state")
        batch_op.drop_index("ix_delivery_lead")
        batch_op.drop_index("ix_delivery_due")
        batch_op.drop_index("ix_delivery_check")

    op.drop_table("delivery")
    with op.batch_alter_table("remote_record", schema=None) as batch_op:
        batch_op.drop_index("ix_remote_record_retire")

    op.drop_table("remote_record")
    with op.batch_alter_table("identity", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_identity_lead_id"))

    op.drop_table("identity")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index("ix_event_site_received")
        batch_op.drop_index(batch_op.f("ix_event_lead_id"))

    op.drop_table("event")
    with op.batch_alter_table("unreadable", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_unreadable_seen_at"))

    op.drop_table("unreadable")
    with op.batch_alter_table("lead", schema=None) as batch_op:
        batch_op.drop_index("ix_lead_site_recent")
        batch_op.drop_index("ix_lead_recent")

    op.drop_table("lead")
    op.drop_table("consent_text")
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_connection_site_id"))

    op.drop_table("connection")
    op.drop_table("worker")
    op.drop_table("user")
    op.drop_table("site")
    op.drop_table("meta")
