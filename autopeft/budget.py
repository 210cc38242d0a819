"""Budgets of trainable parameters. The only place in the code where a percent exists."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from autopeft.errors import BudgetError

_NUMBER = re.compile(r"^\s*(\d+(?:[._]\d+)*(?:e[+-]?\d+)?)\s*(%|k|m|b)?\s*$", re.IGNORECASE)
_MOST = 10**18
_SCALE = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


@dataclass(frozen=True)
class Budget:
    """A bound on trainable parameters. The new task head is never counted.

    Exactly one of the two is set.

    Attributes:
        fraction: A share of the backbone's parameters, above 0 and at most 1.
        count: A number of parameters, at least 1.
    """

    fraction: float | None = None
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read `0.5%`, `300k`, `1.2m` or `120000`.

        Raises:
            BudgetError: The text is none of these, or outside 0 to 100 %.

        >>> Budget.parse("0.5%").limit(1_000_000)
        5000
        >>> Budget.parse("300k").limit(1_000_000)
        300000
        """
        match = _NUMBER.match(text)
        if match is None:
            raise BudgetError(
                f"cannot read the budget '{text}': write a share of the backbone such as 0.5%, "
                "or a number of parameters such as 300k or 120000."
            )
        try:
            number = Decimal(match[1].replace("_", ""))  # exact: 1.001k is 1001
        except InvalidOperation:
            raise BudgetError(f"cannot read the number '{match[1]}' in the budget '{text}'.") from None
        unit = (match[2] or "").lower()
        if unit == "%":
            if not 0 < float(number / 100) <= 1:
                raise BudgetError(f"the budget '{text}' is outside 0 % to 100 % of the backbone.")
            return cls(fraction=float(number / 100))
        if number > _MOST:
            raise BudgetError(f"the budget '{text}' is more than any model has.")
        count = number * _SCALE.get(unit, 1)
        if count < 1 or count != int(count):
            hint = f"Did you mean '{text.strip()}%'?" if not unit and 0 < count < 100 else ""
            raise BudgetError(f"the budget '{text}' is not a whole number of parameters above 0.", hint)
        return cls(count=int(count))

    def limit(self, backbone_parameters: int) -> int:
        """The bound in parameters, for a backbone with so many of them (rounded down)."""
        if self.count is not None:
            return self.count
        assert self.fraction is not None
        return int(self.fraction * backbone_parameters + 1e-9)

    def __str__(self) -> str:
        """The shortest text that `parse` reads back as this budget."""
        if self.fraction is not None:
            percent = Decimal(repr(self.fraction)) * 100
            return f"{percent.normalize():f}%"
        return str(self.count)
