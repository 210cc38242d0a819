"""A search space as it is written, before it meets a backbone."""

from dataclasses import dataclass
from typing import Literal

from autopeft.budget import Budget
from autopeft.dsl.bound import BoundSpace, BoundSpec
from autopeft.dsl.cost import MODULE_TYPES
from autopeft.dsl.domains import Choice, Decision, Real, Subset
from autopeft.errors import BackboneError, nearest
from autopeft.nouns import BackboneShape

Size = int | Literal["hidden", "heads", "intermediate", "layers"]


@dataclass(frozen=True)
class SubsetDomain:
    """A subset of named things.

    Attributes:
        of: What may be chosen; None for all that the backbone has.
        fixed: True where all of `of` is taken, so that nothing is decided.
        minimum: At least so many are chosen.
        where: Place in the file.
    """

    of: tuple[str | int, ...] | None
    fixed: bool
    minimum: int
    where: str


@dataclass(frozen=True)
class ModuleSpec:
    """One entry of `modules:`.

    Attributes:
        name: As the file calls it: decisions are named after it.
        type: `bottleneck`, `prefix` or `lora`.
        sizes: The sizes to choose from; names are bound to the backbone; 0 means absent.
        position: Of a bottleneck: `serial` or `parallel`.
        sites: Of a LoRA: where it goes.
        alpha: Of a LoRA: a number, or None where it is tied to the rank.
        alpha_times_rank: The factor where alpha is tied.
        where: Place in the file.
    """

    name: str
    type: str
    sizes: tuple[Size, ...]
    position: str | None
    sites: SubsetDomain | None
    alpha: float | None
    alpha_times_rank: float | None
    where: str


@dataclass(frozen=True)
class Space:
    """A search space as it is written; `bind` ties it to a backbone and a budget.

    Attributes:
        name: The space's name.
        text: The YAML it was read from: the studies' record of what was searched.
        layers: Which layers carry modules, shared by all modules.
        modules: What may be put on.
        learning_rate: Its domain.
        budgets: Bounds on `trainable` from `constraints:`.
    """

    name: str
    text: str
    layers: SubsetDomain
    modules: tuple[ModuleSpec, ...]
    learning_rate: Real
    budgets: tuple[Budget, ...]

    def bind(self, shape: BackboneShape, limit: int) -> BoundSpace:
        """Tie the space to a backbone and a budget in parameters (the space's own `constraints` join it).

        Raises:
            BackboneError: The space names a layer, a site or a module that the backbone does not have.
            BudgetError: Not even the smallest configuration fits.
        """
        limit = min([limit, *(budget.limit(shape.parameters) for budget in self.budgets)])
        layers = self._layers(shape)
        specs = tuple(_bind_module(spec, shape) for spec in self.modules)
        decisions: list[Decision] = [*layers.switches("layers")]
        for spec in specs:
            decisions.append(Choice(f"{spec.name}.{MODULE_TYPES[spec.type].size}", spec.sizes))
            if spec.sites is not None:
                decisions.extend(spec.sites.switches(f"{spec.name}.sites"))
        decisions.append(self.learning_rate)
        return BoundSpace(self.name, shape, limit, layers, specs, tuple(decisions))

    def _layers(self, shape: BackboneShape) -> Subset:
        count = len(shape.layers)
        wanted = tuple(range(count)) if self.layers.of is None else self.layers.of
        for layer in wanted:
            if not isinstance(layer, int) or not 0 <= layer < count:
                raise BackboneError(
                    f"{self.layers.where}: the space names layer '{layer}'; the backbone has the layers 0 to {count - 1}."
                )
        if self.layers.minimum > count:
            raise BackboneError(
                f"{self.layers.where}: the space asks for at least {self.layers.minimum} layers; the backbone has {count}."
            )
        return Subset(wanted, self.layers.fixed, self.layers.minimum)


def _bind_module(spec: ModuleSpec, shape: BackboneShape) -> BoundSpec:
    if spec.type == "prefix" and not all(layer.prefix_width for layer in shape.layers):
        raise BackboneError(
            f"{spec.where}: this backbone's attention cannot take a prefix; leave '{spec.name}' out of the space."
        )
    if spec.type == "bottleneck" and not {"up", "down"} <= set(shape.sites):
        raise BackboneError(
            f"{spec.where}: no feed-forward block was found in this backbone, so '{spec.name}' has no place; "
            f"its sites are {', '.join(shape.sites) or 'none'}."
        )
    bindings = {
        "hidden": shape.hidden,
        "heads": shape.heads,
        "intermediate": shape.intermediate,
        "layers": len(shape.layers),
    }
    sizes = {bindings[size] if isinstance(size, str) else size for size in spec.sizes}
    sites = None
    if spec.sites is not None:
        wanted = shape.sites if spec.sites.of is None else tuple(map(str, spec.sites.of))
        for site in wanted:
            if site not in shape.sites:
                raise BackboneError(
                    f"{spec.sites.where}: unknown site '{site}': this backbone has {', '.join(shape.sites)}.",
                    nearest(str(site), shape.sites),
                )
        if len(wanted) < spec.sites.minimum:
            raise BackboneError(
                f"{spec.sites.where}: the space asks for at least {spec.sites.minimum} sites; "
                f"all layers of this backbone have {', '.join(wanted) or 'none'}."
            )
        sites = Subset(tuple(wanted), spec.sites.fixed, spec.sites.minimum)
    return BoundSpec(
        name=spec.name,
        type=spec.type,
        sizes=tuple(sorted(sizes)),
        position=spec.position,
        sites=sites,
        alpha=spec.alpha,
        alpha_times_rank=spec.alpha_times_rank,
    )
