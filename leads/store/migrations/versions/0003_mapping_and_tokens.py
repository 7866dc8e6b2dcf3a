"""Mapping rules, sign-ins at CRMs and their quotas

The version before this one must go on working on the new schema: expand first, contract in a later release.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW = ("mapping", "tokens_sealed", "token_lease", "token_lease_until", "sign_in_ends_at", "quota_left", "quota_of")


def upgrade() -> None:
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("mapping", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("tokens_sealed", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("token_lease", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("token_lease_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("sign_in_ends_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("quota_left", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("quota_of", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("quota_at", sa.DateTime(timezone=True), nullable=True))
    connection = sa.table(
        "connection", sa.column("id", sa.Uuid()), sa.column("fields", sa.JSON()), sa.column("mapping", sa.JSON())
    )
    rows = op.get_bind().execute(sa.select(connection.c.id, connection.c.fields)).all()
    for row in rows:
        rules = [{"to": theirs, "from": ours, "write": "when_empty"} for ours, theirs in row.fields.items()]
        op.get_bind().execute(connection.update().where(connection.c.id == row.id).values(mapping=rules))


def downgrade() -> None:
    with op.batch_alter_table("connection", schema=None) as batch_op:
        for name in ("quota_at", *reversed(_NEW)):
            batch_op.drop_column(name)
