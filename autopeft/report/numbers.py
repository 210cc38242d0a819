"""Numbers as people read them."""

import math
from collections.abc import Iterable

_MOST_DECIMALS = 5


def show_score(score: float | None) -> str:
    """A score or hypervolume to four decimals; a dash where there is none."""
    return "–" if score is None else f"{score:.4f}"


def show_mean(mean: float | None, standard_error: float | None = None) -> str:
    """A mean to three decimals, with its standard error where there is one; a dash where there is none.

    >>> show_mean(0.8317, 0.0042)
    '0.832 ± 0.004'
    """
    if mean is None:
        return "–"
    return f"{mean:.3f}" if standard_error is None else f"{mean:.3f} ± {standard_error:.3f}"


def share_decimals(shares: Iterable[float]) -> int:
    """Decimals of a percentage with which the smallest share that is not 0 has two significant digits."""
    smallest = min((share for share in shares if share > 0), default=1.0)
    return min(max(1 - math.floor(math.log10(100 * smallest)), 0), _MOST_DECIMALS)


def show_share(share: float, decimals: int | None = None) -> str:
    """A fraction as a percentage: with so many decimals, else with two significant digits.

    >>> show_share(0.000478)
    '0.048%'
    """
    if share == 0:
        return "0%"
    return f"{100 * share:.{share_decimals([share]) if decimals is None else decimals}f}%"


def show_seconds(seconds: float) -> str:
    """A time in its two largest units.

    >>> show_seconds(7.25), show_seconds(192), show_seconds(7500)
    ('7.2 s', '3 min 12 s', '2 h 05 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_bytes(count: float) -> str:
    """A number of bytes in the largest binary unit that fits.

    >>> show_bytes(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def show_value(value: float | None, unit: str) -> str:
    """A value of an objective with its unit; a dash where there is none.

    >>> show_value(0.00312, "s"), show_value(2048, "bytes"), show_value(1.5e9, "FLOPs"), show_value(0.25, "J")
    ('3.12 ms', '2.0 KiB', '1.50 GFLOPs', '0.25 J')
    """
    if value is None:
        return "–"
    if unit == "":
        return show_score(value)
    if unit == "parameters":
        return f"{value:,.0f}"
    if unit == "bytes":
        return show_bytes(value)
    if unit == "s":
        return show_seconds(value) if value >= 1 else f"{1000 * value:.3g} ms"
    if unit == "FLOPs":
        for prefix in ("", "k", "M", "G"):
            if value < 1000:
                return f"{value:.3g} {prefix}FLOPs" if not prefix else f"{value:#.3g} {prefix}FLOPs"
            value /= 1000
        return f"{value:,.2f} TFLOPs"
    return f"{value:.4g} {unit}"
