"""Merged into themselves: who was, by an earlier version, is there again, and so is their record in the CRM

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Else it would be taken out of the CRM as that of somebody who turned out to be another.
_KEEP_RECORDS = """
UPDATE remote_record SET retire = false, retire_at = NULL
WHERE retire AND lead_id IN (SELECT id FROM lead WHERE merged_into = id)
"""


def upgrade() -> None:
    op.execute(_KEEP_RECORDS)
    op.execute("UPDATE lead SET merged_into = NULL WHERE merged_into = id")


def downgrade() -> None:
    """The version before reads them as they are."""
