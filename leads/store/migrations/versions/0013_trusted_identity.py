"""Trusted identity: what only a held enquiry says of a person joins nothing to her

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Of these people all that came was held.
_HELD = """
UPDATE identity SET trusted = false WHERE kind <> 'visitor'
AND lead_id IN (SELECT id FROM lead WHERE known AND NOT shareable)
"""


def upgrade() -> None:
    op.add_column("identity", sa.Column("trusted", sa.Boolean(), server_default=sa.true(), nullable=False))
    tell_apart()


def tell_apart() -> None:
    op.execute(_HELD)


def downgrade() -> None:
    op.drop_column("identity", "trusted")
