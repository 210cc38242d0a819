"""Sensitivity-aware PEFT: which weights are trained, and where a module takes their place. He et al. 2023 (2303.08566).

Notation:
    s_i         sensitivity of a weight: sum over batches of its squared gradient (section 3.1; the code of the paper)
    n_u         how many of the t most sensitive weights of all units unit u has
    c_u         parameters of a module there: a LoRA of several times the configuration's rank

A unit gets its LoRA where n_u >= c_u / threshold, else just its n_u entries (section 3.2). With a larger t more of both
are taken, so t is the largest that fits the budget; what is left of it then goes to further single entries, the most sensitive first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autopeft.allocate.units import Dealt, Unit
from autopeft.dsl.own_types import sparse_count
from autopeft.nouns import Configuration, Module, rounded

_BINS_PER_OCTAVE = 64  # so that weights of one bin differ by 1.1 %
_LOWEST, _HIGHEST = -160, 128  # powers of two; what float32 squares can be

BINS = (_HIGHEST - _LOWEST) * _BINS_PER_OCTAVE


@dataclass(frozen=True)
class Histogram:
    """How many weights of a unit are how sensitive: all that a plan needs, in 150 kB whatever the matrix.

    Attributes:
        counts: Weights in each bin, the most sensitive first, (BINS,).
    """

    counts: np.ndarray

    @classmethod
    def of(cls, squares: np.ndarray) -> "Histogram":
        """Of the sensitivities of a matrix, of any shape."""
        with np.errstate(divide="ignore"):
            powers = np.log2(squares.reshape(-1).astype(np.float64))
        places = np.clip((_HIGHEST - powers) * _BINS_PER_OCTAVE, 0, BINS - 1)
        return cls(np.bincount(np.floor(places).astype(np.int64), minlength=BINS))


def plan(dealt: Dealt, histograms: Mapping[Unit, Histogram], threshold: float, times: float) -> Configuration:
    """The plan: LoRA where many sensitive weights are, single entries elsewhere; it costs no more than the configuration.

    Args:
        dealt: What there is to deal out.
        histograms: Of each unit.
        threshold: The alpha of the paper's code; 1: a module never costs more than the entries that it takes the place of.
        times: The rank of a module, in ranks of the configuration. With 1 there would be room for a module everywhere.
    """
    units = dealt.units
    ranks = [_rank(dealt, unit, times) for unit in units]
    counts = np.stack([histograms[unit].counts for unit in units])
    above = np.cumsum(counts, axis=1)  # n_u, by the bin that the last of the t weights is in
    prices = np.array([dealt.lora_cost(unit, rank) for unit, rank in zip(units, ranks, strict=True)])
    structured = above * threshold >= prices[:, None]
    costs = np.where(structured, prices[:, None], above).sum(axis=0)
    fitting = np.flatnonzero(costs <= dealt.cost)
    last = int(fitting[-1]) if len(fitting) else -1
    flags = structured[:, last] if last >= 0 else np.zeros(len(units), dtype=bool)
    entries = np.where(flags, 0, above[:, last]) if last >= 0 else np.zeros(len(units), dtype=np.int64)
    left = dealt.cost - int(prices[flags].sum()) - int(entries.sum())
    for bin_ in range(last + 1, BINS):  # single entries from here on, whatever a unit has
        if left <= 0:
            break
        more = np.where(flags, 0, counts[:, bin_])
        if more.sum() > left:
            more = np.floor(more * (left / more.sum())).astype(np.int64)
            entries += more
            break
        entries += more
        left -= int(more.sum())
    modules = [dealt.lora(unit, rank) for unit, rank, flag in zip(units, ranks, flags, strict=True) if flag]
    singles = [
        module
        for unit, count in zip(units, entries.tolist(), strict=True)
        if count and (module := _entries(dealt, unit, count)) is not None
    ]
    return dealt.plan([*modules, *singles])


def _rank(dealt: Dealt, unit: Unit, times: float) -> int:
    place = dealt.place(unit)
    return min(max(1, round(dealt.ranks[unit] * times)), place.inputs, place.outputs)


def _entries(dealt: Dealt, unit: Unit, count: int) -> Module | None:
    # A density has three digits, so it is the largest that means no more than so many entries.
    place = dealt.place(unit)
    share = count / (place.inputs * place.outputs)
    digit = 10.0 ** (math.floor(math.log10(share)) - 2) if count else 0.0
    density = rounded(share)
    if sparse_count(density, place) > count:
        density = rounded(density - digit)
    return dealt.sparse(unit, density) if 0 < sparse_count(density, place) <= count else None
