"""Consent of a repeat: whether it was given when the same form came again

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("resubmission", sa.Column("consent_given", sa.Boolean(), nullable=True))
    op.add_column("resubmission", sa.Column("consent_version", sa.String(length=200), nullable=True))


def downgrade() -> None:
    op.drop_column("resubmission", "consent_version")
    op.drop_column("resubmission", "consent_given")
