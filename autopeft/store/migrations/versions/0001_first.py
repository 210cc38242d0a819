"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("parameter_limit", sa.BigInteger(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("reference_score", sa.Double(), nullable=True),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_host", sa.Text(), nullable=True),
        sa.Column("lease_pid", sa.Integer(), nullable=True),
        sa.Column("lease_process_start", sa.Text(), nullable=True),
        sa.Column("lease_heartbeat_at", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("name", name=op.f("uq_study_name")),
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("configuration_key", sa.String(16), nullable=False),
        sa.Column("trainable", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("started_at", sa.String(32), nullable=True),
        sa.Column("finished_at", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_trial_study_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_trial_study_id_number")),
        sa.UniqueConstraint(
            "study_id",
            "kind",
            "configuration_key",
            "seed",
            name=op.f("uq_trial_study_id_kind_configuration_key_seed"),
        ),
    )
    op.create_index(op.f("ix_trial_study_id_status"), "trial", ["study_id", "status"])
    op.create_table(
        "measurement",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("objective", sa.String(100), nullable=False),
        sa.Column("rung", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("trial_id", "objective", "rung", name=op.f("pk_measurement")),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_measurement_trial_id"), ondelete="CASCADE"
        ),
    )
    op.create_table(
        "front",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("after_trial_id", sa.Integer(), nullable=False),
        sa.Column("hypervolume", sa.Double(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_front")),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_front_study_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["after_trial_id"], ["trial.id"], name=op.f("fk_front_after_trial_id"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_front_study_id"), "front", ["study_id"])
    op.create_table(
        "front_member",
        sa.Column("front_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("front_id", "position", name=op.f("pk_front_member")),
        sa.ForeignKeyConstraint(
            ["front_id"], ["front.id"], name=op.f("fk_front_member_front_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_front_member_trial_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("front_id", "trial_id", name=op.f("uq_front_member_front_id_trial_id")),
    )
    op.create_table(
        "artifact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_artifact_trial_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("trial_id", name=op.f("uq_artifact_trial_id")),
    )


def downgrade() -> None:
    for table in ("artifact", "front_member", "front", "measurement", "trial", "study"):
        op.drop_table(table)
