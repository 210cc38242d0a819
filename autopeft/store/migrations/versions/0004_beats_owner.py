"""A server's heartbeats are counted, where they were times of its clock; a study knows who has made it; and charts have an index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("beats", sa.BigInteger(), nullable=False, server_default="0"))
    op.drop_column("job", "heartbeat_at")
    op.add_column("study", sa.Column("owner", sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_trial_columns",
        "trial",
        ["study_id", "number", "kind", "status", "trainable", "seed", "attempt", "started_at", "finished_at"],
    )
