"""What one backward pass through a super-adapter says of every configuration of its space.

Notation:
    g(v)     gradient of the loss by the weights of the largest module at spot v, which is the identity at its start
    w        a size; g_w(v) is the part of g(v) that a module of this size has
    a(v)     what the module's output is multiplied with

    G(c, k)^2 = sum over the spots v of kind k of configuration c of  (a_c(v) / a(v))^2 |g_w(v)|^2
    G(c)^2    = sum_k G(c, k)^2

G(c) is the norm of the gradient that a training of c has at its first step: how much there is to gain at first
(Abdelfattah et al. 2021, arXiv 2101.08134, section 3.2, `grad_norm`). What a gradient is worth differs between kinds of
module, so each kind has a say of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autopeft.allocate.spots import Cut, Spot, cuts, scale
from autopeft.nouns import BackboneShape, Configuration


@dataclass(frozen=True)
class Gradients:
    """The ledger of a probe.

    Attributes:
        largest: The module at each spot of the super-adapter.
        squares: For each spot, sizes in ascending order and |g_w|^2 for each. Between two of them it is on a straight line.
    """

    largest: Mapping[Spot, Cut]
    squares: Mapping[Spot, tuple[tuple[int, ...], tuple[float, ...]]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of module there are, such as `bottleneck parallel ffn`."""
        return tuple(dict.fromkeys(spot.kind for spot in self.largest))

    def parts(self, configuration: Configuration, shape: BackboneShape) -> list[float]:
        """G(c, k), for each of `kinds`.

        Raises:
            KeyError: The configuration has a module where the super-adapter has none.
        """
        total = dict.fromkeys(self.kinds, 0.0)
        for spot, cut in cuts(configuration, shape).items():
            total[spot.kind] += self.square(spot, cut)
        return [math.sqrt(square) for square in total.values()]

    def square(self, spot: Spot, cut: Cut) -> float:
        """What one spot adds to G(c)^2."""
        sizes, squares = self.squares[spot]
        times = scale(spot, cut) / scale(spot, self.largest[spot])
        return times**2 * float(np.interp(cut.size, (0, *sizes), (0.0, *squares)))

    def to_json(self) -> list[dict[str, Any]]:
        """A row for each spot; numbers to four digits."""
        rows = []
        for spot, (size, factor) in self.largest.items():
            sizes, squares = self.squares[spot]
            row = {"type": spot.type, "options": dict(spot.options), "layer": spot.layer, "site": spot.site}
            found = {"sizes": list(sizes), "squares": [float(f"{value:.4g}") for value in squares]}
            rows.append({**row, "size": size, "factor": factor, **found})
        return rows

    @staticmethod
    def from_json(rows: Sequence[Mapping[str, Any]]) -> "Gradients":
        """What `to_json` gave."""
        largest, squares = {}, {}
        for row in rows:
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in row["options"].items()}
            spot = Spot(row["type"], tuple(sorted(options.items())), row["layer"], row["site"])
            largest[spot] = Cut(row["size"], row["factor"])
            squares[spot] = tuple(row["sizes"]), tuple(row["squares"])
        return Gradients(largest, squares)


def some_sizes(largest: int, most: int = 40) -> tuple[int, ...]:
    """Sizes from 1 to the largest: all of a short range, else about so many, evenly on the log scale.

    >>> some_sizes(6)
    (1, 2, 3, 4, 5, 6)
    >>> len(some_sizes(1000)) <= 40
    True
    """
    if largest <= most:
        return tuple(range(1, largest + 1))
    return tuple(int(size) for size in np.unique(np.geomspace(1, largest, most).round()))
