"""The table of trainings as a search sees it: an evaluation is one recorded training of a configuration.

    table = load_images()
    curve = table.draw(configuration, random.Random(0))      # one of its seeds
    curve.validation[-1], table.entry(configuration).truth

The truth of a configuration is the mean, over all its seeds, of the last epoch's validation score.
"""

import functools
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from autopeft.backbones import model_path, read_backbone
from autopeft.dsl import BoundSpace, Levels, read_space
from autopeft.nouns import BackboneShape, Configuration
from autopeft.pareto import hypervolume

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        validation: Score on the validation split after each epoch.
        test: Score on the test split after each epoch.
        seconds: CPU seconds from the start to the end of each epoch.
    """

    validation: tuple[float, ...]
    test: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Entry:
    """All trainings of one configuration.

    Attributes:
        configuration: What was trained.
        trainable: Exact trainable parameters.
        curves: Training seed to its curve.
    """

    configuration: Configuration
    trainable: int
    curves: Mapping[int, Curve]

    @cached_property
    def truth(self) -> float:
        """Mean over the seeds of the last epoch's validation score."""
        return sum(curve.validation[-1] for curve in self.curves.values()) / len(self.curves)


@dataclass(frozen=True)
class Table:
    """An exhaustive table of one space.

    Attributes:
        space: The space, with the largest configuration's cost as its budget: all of the table is inside, and no stretch
            of the cost axis is empty.
        entries: Key of a configuration to its trainings; every point of the space is there.
        head: The frozen backbone with its head only, which is no point of the space.
        digest: Names the data: results of two tables are not to be compared.
    """

    space: BoundSpace
    entries: Mapping[str, Entry]
    head: Entry
    digest: str

    def draw(self, configuration: Configuration, rng: random.Random) -> Curve:
        """An evaluation: the curve of one of the configuration's seeds.

        Raises:
            KeyError: The configuration is neither in the space nor the head alone.
        """
        entry = self.entry(configuration)
        return entry.curves[rng.choice(sorted(entry.curves))]

    def entry(self, configuration: Configuration) -> Entry:
        """What was measured of a configuration; see `draw`."""
        if configuration.key == self.head.configuration.key:
            return self.head
        return self.entries[configuration.key]

    def hypervolume(self, found: Iterable[Entry]) -> float:
        """Hypervolume of the truths of some configurations, over the score of the head alone; as in the product."""
        return hypervolume(
            [(entry.truth, entry.trainable) for entry in found],
            reference_score=self.head.truth,
            smallest=self.space.smallest,
            limit=self.space.limit,
        )

    @cached_property
    def total(self) -> float:
        """Hypervolume of the whole table: what a search that has tried everything has found."""
        return self.hypervolume(self.entries.values())


@functools.cache
def load_images() -> Table:
    """The table of images; read once in a process.

    Raises:
        ValueError: Configurations of the space are missing, or have failed, in the file.
    """
    _, layout = read_backbone(model_path("starter"))
    space = read_space((HERE / "images.yaml").read_text(encoding="utf-8"), "images.yaml")
    bound = space.bind(layout.shape, layout.shape.parameters)
    bound = replace(bound, limit=bound.largest)
    path = HERE / "images.parquet"
    entries = _entries(_trainings(path))
    every = points(bound)
    head = entries.pop(Configuration.of([], every[0].learning_rate).key, None)
    missing = [c for c in every if c.key not in entries]
    if missing or head is None:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(every)} points of the space, or the head alone"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Table(bound, {c.key: entries[c.key] for c in every}, head, digest)


@functools.cache
def load_text() -> tuple[BoundSpace, Mapping[str, Entry]]:
    """The table of text: the space, whole, and the configurations of its random sample that were trained."""
    path = HERE / "text.parquet"
    metadata = pq.read_schema(path).metadata
    shape = BackboneShape.from_json(json.loads(metadata[b"shape"]))
    space = read_space((HERE / "text.yaml").read_text(encoding="utf-8"), "text.yaml").bind(
        shape, shape.parameters
    )
    return replace(space, limit=space.largest), _entries(_trainings(path))


def points(space: BoundSpace) -> list[Configuration]:
    """Every configuration of a space whose decisions are among listed values."""
    found: dict[str, Configuration] = {}
    values: list[tuple[Any, ...]] = [()]
    for decision in space.decisions:
        levels = decision.values if isinstance(decision, Levels) else (decision.low,)
        values = [(*value, level) for value in values for level in levels]
    for assignment in values:
        if space.valid(assignment):
            configuration = space.configuration(assignment)
            found[configuration.key] = configuration
    return list(found.values())


def _trainings(path: Path) -> Iterator[tuple[dict[str, Any], int, int, list[dict[str, Any]]]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in pq.read_table(path).to_pylist():
        if row["status"] == "complete":
            found.setdefault((row["configuration"], row["seed"]), []).append(row)
    for (text, seed), epochs in found.items():
        yield json.loads(text), epochs[0]["trainable"], seed, epochs


def _entries(
    trainings: Iterable[tuple[dict[str, Any], int, int, list[dict[str, Any]]]],
) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for data, trainable, seed, epochs in trainings:
        configuration = Configuration.from_json(data)
        known = found.get(configuration.key)
        curves = {**(known.curves if known else {}), seed: _curve(epochs)}
        found[configuration.key] = Entry(configuration, trainable, curves)
    return found


def _curve(epochs: list[dict[str, Any]]) -> Curve:
    epochs = sorted(epochs, key=lambda row: row["epoch"])
    columns = ([row[name] for row in epochs] for name in ("validation", "test", "seconds"))
    return Curve(*map(tuple, columns))
