"""Several drivers of one study: each has a row and claims trials, where a study had one lease. And what makes large studies quick.

A trial's claim refers to no row: SQLite cannot add a foreign key to a table without copying it, which would delete all that
refers to it. Who takes a driver's row away takes its claims away with it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LEASE: dict[str, sa.types.TypeEngine[Any]] = {
    "lease_owner": sa.Text(),
    "lease_host": sa.Text(),
    "lease_pid": sa.Integer(),
    "lease_process_start": sa.Text(),
    "lease_heartbeat_at": sa.String(32),
}


def upgrade() -> None:
    op.create_table(
        "driver",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_start", sa.Text(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_driver")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_driver_study_id"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_driver_study_id"), "driver", ["study_id"])
    op.add_column("trial", sa.Column("claimed_by", sa.String(64), nullable=True))
    op.add_column("trial", sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
    for name in _LEASE:
        op.drop_column("study", name)
    op.add_column("study", sa.Column("front_complete", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_trial_study_id_kind_status"), "trial", ["study_id", "kind", "status"])
    op.create_index(op.f("ix_trial_study_id_configuration_key"), "trial", ["study_id", "configuration_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_trial_study_id_configuration_key"), "trial")
    op.drop_index(op.f("ix_trial_study_id_kind_status"), "trial")
    op.drop_column("study", "front_complete")
    for name, kind in _LEASE.items():
        op.add_column("study", sa.Column(name, kind, nullable=True))
    for name in ("claimed_by", "losses"):
        op.drop_column("trial", name)
    op.drop_table("driver")
