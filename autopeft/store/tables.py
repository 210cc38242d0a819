"""The tables, as SQLAlchemy 2 typed models. The migrations make exactly these; a test compares the two.

Times are text, UTC in ISO 8601 with milliseconds, so that they sort as they read. Statuses and kinds are
text too: a further one needs no migration.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from autopeft.naming import LONGEST


class Base(DeclarativeBase):
    """Every table; constraints have predictable names, because a later migration needs to name them."""

    # Named, because versions of SQLAlchemy differ on what a bare `float` is; Float is single on MySQL.
    type_annotation_map: ClassVar = {float: Double, list[str]: JSON}
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class StudyRow(Base):
    """One search. `front_complete`: how many complete trials the last front was found among, also if it did not change."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST), unique=True)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    parameter_limit: Mapped[int] = mapped_column(BigInteger)
    space: Mapped[str] = mapped_column(Text)
    reference_score: Mapped[float | None]
    created_at: Mapped[str] = mapped_column(String(32))
    front_complete: Mapped[int | None]
    owner: Mapped[str] = mapped_column(Text, default="", server_default="")


class DriverRow(Base):
    """A process that runs a study's search; `beats` counts its heartbeats."""

    __tablename__ = "driver"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    process_start: Mapped[str] = mapped_column(Text)
    beats: Mapped[int] = mapped_column(BigInteger)
    joined_at: Mapped[str] = mapped_column(String(32))


class TrialRow(Base):
    """One configuration trained with one seed. The key is in a column of its own, so that it can be unique.

    `claimed_by` is the driver that alone may start it; `losses` counts workers and drivers that went while they had it.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "kind", "configuration_key", "seed"),
        Index(None, "study_id", "status"),
        Index(None, "study_id", "kind", "status"),
        Index(None, "study_id", "configuration_key"),
        # What charts of a large study need, without the pages that hold configurations: `store/columns.py`.
        Index(
            "ix_trial_columns",
            *(
                "study_id",
                "number",
                "kind",
                "status",
                "trainable",
                "seed",
                "attempt",
                "started_at",
                "finished_at",
            ),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))
    configuration: Mapped[dict[str, Any]] = mapped_column(JSON)
    configuration_key: Mapped[str] = mapped_column(String(16))
    trainable: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[str | None] = mapped_column(String(32))
    finished_at: Mapped[str | None] = mapped_column(String(32))
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    losses: Mapped[int] = mapped_column(default=0, server_default="0")


class MeasurementRow(Base):
    """One value of one objective at one rung; rung 0 is the whole trial. Null is "not a finite number"."""

    __tablename__ = "measurement"

    # The primary key is the index on (trial, objective, rung).
    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True)
    objective: Mapped[str] = mapped_column(String(100), primary_key=True)
    rung: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float | None]


class FrontRow(Base):
    """A front of a study, as it was after one trial."""

    __tablename__ = "front"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), index=True)
    after_trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"))
    hypervolume: Mapped[float]
    created_at: Mapped[str] = mapped_column(String(32))


class FrontMemberRow(Base):
    """One trial of a front; position 0 is the one with the fewest trainable parameters."""

    __tablename__ = "front_member"
    __table_args__ = (UniqueConstraint("front_id", "trial_id"),)

    front_id: Mapped[int] = mapped_column(ForeignKey("front.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"))


class JobRow(Base):
    """A search that a server is to run; see `nouns.Job`. `beats` counts the heartbeats of servers that have had it."""

    __tablename__ = "job"
    __table_args__ = (Index(None, "state", "priority"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(LONGEST), unique=True)
    arguments: Mapped[list[str]] = mapped_column(JSON)
    folder: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    wish: Mapped[str | None] = mapped_column(String(16))
    server_host: Mapped[str] = mapped_column(Text)
    server_pid: Mapped[int]
    server_start: Mapped[str] = mapped_column(Text)
    beats: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    log: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[str | None] = mapped_column(String(32))
    finished_at: Mapped[str | None] = mapped_column(String(32))


class ArtifactRow(Base):
    """The folder of a complete trial's adapter."""

    __tablename__ = "artifact"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"), unique=True)
    folder: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))
