"""Where a website's privacy notice and imprint stand, since whoever is asked for details must be able to read them

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("privacy_url", "imprint_url"):
        op.add_column("site", sa.Column(name, sa.String(), server_default="", nullable=False))


def downgrade() -> None:
    for name in ("privacy_url", "imprint_url"):
        op.drop_column("site", name)
