"""Reasons: what looks like spam or lacks consent says so again, though its connection was removed

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SENTENCES = {
    "spam": "This looks like spam. Nothing was sent; if it is a real enquiry, press “Not spam, send”.",
    "no_consent": "There is no consent of the visitor that the details are shared with the CRM.",
}
_SAY = sa.text(
    "UPDATE delivery SET code = :code, sentence = :sentence WHERE state = 'held' AND code = 'removed' "
    "AND event_id IN (SELECT id FROM event WHERE hold_code = :code)"
)


def upgrade() -> None:
    for code, sentence in _SENTENCES.items():
        op.get_bind().execute(_SAY, {"code": code, "sentence": sentence})


def downgrade() -> None:
    """The version before reads them as they are."""
