"""What allocators keep of what they see, step by step."""

from dataclasses import dataclass

_BETA = 0.85


@dataclass
class Smoothed:
    """A sensitivity over time: how large it is, times how much it wavers. Zhang et al. 2023 (2303.10512), equations 8 to 10.

        mean        b mean + (1 - b) I            b = 0.85
        wavering    b wavering + (1 - b) |I - mean|

    >>> seen = Smoothed()
    >>> seen.add(1.0)
    >>> round(seen.worth, 4)
    0.0191
    """

    mean: float = 0.0
    wavering: float = 0.0

    def add(self, value: float) -> None:
        """What was seen at a step, I."""
        self.mean += (1 - _BETA) * (value - self.mean)
        self.wavering += (1 - _BETA) * (abs(value - self.mean) - self.wavering)

    @property
    def worth(self) -> float:
        """What ranks are dealt out by; 0 before anything was seen."""
        return self.mean * self.wavering
