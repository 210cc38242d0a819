"""Sensitivity-aware PEFT: which weights are trained, and where a module takes their place. He et al. 2023 (2303.08566).

Notation:
    s_i         sensitivity of a weight: sum over batches of its squared gradient (section 3.1; the code of the paper)
    n_u         how many of the t most sensitive weights of all linear maps and their biases matrix u has; n_b, of a bias b
    n_j         sum of n_u over the matrices of structure j: a LoRA's one, or those of a block with bottlenecks
    c_j         parameters of its modules, of several times the configuration's rank or width
    d_b         numbers in a bias

A structure has its modules where n_j >= c_j / threshold, else the n_u entries of its matrices are trained (section 3.2). A
bias is trained as a whole where n_b >= d_b / vectors (the code of the paper). With a larger t more of all is taken, so t is
the largest that fits the budget; what is left of it then goes to further single entries, the most sensitive first: of
matrices without a module, and only once nothing is left of those, of the others.

Where this is not the paper:
    - Its adapters stand behind every flagged matrix; our bottlenecks stand at a block, whose matrices count together.
    - A matrix with a LoRA in the configuration counts for that, never for its block's bottlenecks.
    - Single entries of biases are not trained, so they cost nothing: a bias is trained as a whole or not at all.
    - Norms are left out: the biases of all norms of a layer are one module here, and their weights none.
    - The classifier's head is trained before the gradients are looked at, and the budget is never exceeded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from autopeft.allocate.structures import structures
from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.own_types import sparse_density
from autopeft.nouns import Configuration, Module

_BINS_PER_OCTAVE = 64  # so that weights of one bin differ by 1.1 %
_LOWEST, _HIGHEST = -160, 128  # powers of two; what float32 squares can be

BINS = (_HIGHEST - _LOWEST) * _BINS_PER_OCTAVE


@dataclass(frozen=True)
class Histogram:
    """How many numbers of a tensor are how sensitive: all that a plan needs, in 150 kB whatever the matrix.

    Attributes:
        counts: Numbers in each bin, the most sensitive first, (BINS,).
    """

    counts: np.ndarray

    @classmethod
    def of(cls, squares: np.ndarray) -> "Histogram":
        """Of the sensitivities of a tensor, of any shape."""
        with np.errstate(divide="ignore"):
            powers = np.log2(squares.reshape(-1).astype(np.float64))
        places = np.clip((_HIGHEST - powers) * _BINS_PER_OCTAVE, 0, BINS - 1)
        return cls(np.bincount(np.floor(places).astype(np.int64), minlength=BINS))


def plan(
    dealt: Dealt,
    weights: Mapping[Unit, Histogram],
    biases: Mapping[Unit, Histogram],
    *,
    threshold: float,
    times: float,
    vectors: float,
) -> Configuration:
    """The plan: modules where many sensitive weights are, single entries and whole biases elsewhere.

    It costs no more than the configuration, and 1 % less at most where the matrices have entries enough.

    Args:
        dealt: What there is to deal out.
        weights: Of each matrix in `maps_of_structures(dealt)`.
        biases: Of each bias that may be trained, by its matrix.
        threshold: The alpha of the paper's code; 1: a module never costs more than the entries that it takes the place of.
        times: The rank or width of a module, in those of the configuration. With 1 there would be room for a module
            everywhere.
        vectors: The beta of the paper's code; 0: no bias is trained.
    """
    found = structures(dealt, times)
    maps, sizes = [unit for one in found for unit in one.maps], [len(one.maps) for one in found]
    counts = np.stack([weights[unit].counts for unit in maps])
    # In columns from here on: by the bin that the last of the t weights is in.
    sensitive = np.add.reduceat(np.cumsum(counts, axis=1), np.cumsum([0, *sizes[:-1]]), axis=0)
    prices = np.array([[one.price] for one in found])
    structured = sensitive * threshold >= prices
    lengths = np.array([dealt.place(unit).bias for unit in biases], dtype=np.int64)[:, None]
    whole = _above(biases.values()) * vectors >= lengths
    fixed = (structured * prices).sum(axis=0) + (whole * lengths).sum(axis=0)
    fitting = np.flatnonzero(fixed + np.where(structured, 0, sensitive).sum(axis=0) <= dealt.cost)
    if len(fitting):
        last = fitting[-1]
        flags, trained, left = structured[:, last], whole[:, last], dealt.cost - int(fixed[last])
    else:  # not even what is in the first bin
        flags, trained, left = structured[:, 0] & False, whole[:, 0] & False, dealt.cost
    covered = np.repeat(flags, sizes)[:, None]
    entries = _most_sensitive(np.where(covered, 0, counts), left)
    entries += _most_sensitive(np.where(covered, counts, 0), left - int(entries.sum()))
    modules = [module for one, flag in zip(found, flags, strict=True) if flag for module in one.modules]
    modules += [dealt.bias(unit) for unit, flag in zip(biases, trained, strict=True) if flag]
    modules += [
        _entries(dealt, unit, count) for unit, count in zip(maps, entries.tolist(), strict=True) if count
    ]
    return dealt.plan(modules)


def _above(histograms: Iterable[Histogram]) -> np.ndarray:
    """How many numbers of each tensor are in a bin or in one that is more sensitive."""
    return np.cumsum(np.array([one.counts for one in histograms], dtype=np.int64).reshape(-1, BINS), axis=1)


def _most_sensitive(counts: np.ndarray, left: int) -> np.ndarray:
    """How many of so many entries each matrix has, the most sensitive first; of the last bin all in proportion."""
    each = counts.sum(axis=0)
    bins = int(np.searchsorted(np.cumsum(each), left, side="right"))
    found: np.ndarray = counts[:, :bins].sum(axis=1)
    if bins < BINS:
        more = counts[:, bins] * (left - int(found.sum()))
        found += more // each[bins]
        first = np.argsort(-(more % each[bins]), kind="stable")
        found[first[: left - int(found.sum())]] += 1
    return found


def _entries(dealt: Dealt, unit: Unit, count: int) -> Module:
    # A density has three digits, so it may mean 1 % less than so many entries.
    return dealt.sparse(unit, sparse_density(count, dealt.place(unit)))
