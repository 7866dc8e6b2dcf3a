"""Second factor: a user may share a secret with an app on the phone, and have recovery codes

The version before this one must go on working on the new schema: expand first, contract in a later release. It removes
users without knowing of their recovery codes, so the database itself deletes those.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user", sa.Column("totp_sealed", sa.LargeBinary(), nullable=True))
    op.add_column("user", sa.Column("totp_step", sa.Integer(), nullable=True))
    op.create_table(
        "recovery_code",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_recovery_code_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "digest", name=op.f("pk_recovery_code")),
    )


def downgrade() -> None:
    op.drop_table("recovery_code")
    # Not by a batch, which would make the table anew under all that refers to it.
    op.drop_column("user", "totp_step")
    op.drop_column("user", "totp_sealed")
