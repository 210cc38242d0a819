"""What is known of a space on a backbone while its decisions are laid out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopeft.dsl.check import Reference
from autopeft.dsl.choosers import Slot
from autopeft.dsl.decisions import Decision, Levels, Needs
from autopeft.dsl.leaves import Gate, Leaf
from autopeft.dsl.parts import Role
from autopeft.nouns import BackboneShape


@dataclass
class Build:
    """What is known of a space on a backbone while its decisions are laid out.

    Attributes:
        shape: The backbone.
        names: Values of the names in expressions.
        gates: Gates of the space's tree.
        leaves: Modules of the space's tree.
        decisions: Decisions so far.
        roles: Their roles.
        slots: Where each field's value comes from.
        at: The decision of each field and gate that has one of its own.
        needs: Conditions that were worked out: of a field; of a module or gate under its name and an empty text.
    """

    shape: BackboneShape
    names: Mapping[str, int]
    gates: tuple[Gate, ...]
    leaves: tuple[Leaf, ...]
    decisions: list[Decision]
    roles: list[Role]
    slots: dict[Reference, Slot]
    at: dict[Reference, int]
    needs: dict[Reference, tuple[Needs, ...]] = field(default_factory=dict)

    def add(self, decision: Decision, role: Role) -> int:
        """Lay out one more; its index."""
        self.decisions.append(decision)
        self.roles.append(role)
        return len(self.decisions) - 1

    def samples(self, slot: Slot) -> list[Any]:
        """Values that a field can have: every one of a list, the ends of an interval."""
        found: dict[Any, None] = {}
        for index in slot.indices.values():
            decision = self.decisions[index]
            found |= dict.fromkeys(
                decision.values if isinstance(decision, Levels) else (decision.at(0.0), decision.at(1.0))
            )
        return list(found)
