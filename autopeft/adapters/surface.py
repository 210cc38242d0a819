"""What is on a model beside its weights, remembered so that it can be put back."""

from dataclasses import dataclass
from typing import Any

from torch import nn

_TORCHS = frozenset(vars(nn.Module()))  # torch keeps parameters, children and hooks there


@dataclass(frozen=True)
class Here:
    """What is at one module of a model.

    Attributes:
        module: The module.
        children: Its children by name.
        before, after: Its hooks before and after a forward pass, by torch's numbers.
        attributes: What was set on it beside those.
    """

    module: nn.Module
    children: dict[str, nn.Module | None]
    before: dict[int, Any]
    after: dict[int, Any]
    attributes: dict[str, Any]


class Surface:
    """Children, hooks and attributes of all modules of a model, as they are when this is made.

    >>> bare = Surface(model)                               # doctest: +SKIP
    >>> attach(model, ...)                                  # doctest: +SKIP
    >>> bare.put_back()     # the modules still are, and are on the model no more         # doctest: +SKIP
    """

    def __init__(self, model: nn.Module) -> None:
        self.here = {
            module: Here(
                module,
                dict(module._modules),
                dict(module._forward_pre_hooks),
                dict(module._forward_hooks),
                {name: value for name, value in vars(module).items() if name not in _TORCHS},
            )
            for module in model.modules()
        }

    def put_back(self) -> None:
        """Make the model so again."""
        for here in self.here.values():
            for now, then in (
                (here.module._modules, here.children),
                (here.module._forward_pre_hooks, here.before),
                (here.module._forward_hooks, here.after),
            ):
                now.clear()
                now.update(then)  # type: ignore[arg-type]
            own = vars(here.module)
            for name in own.keys() - _TORCHS - here.attributes.keys():
                del own[name]
            own.update(here.attributes)
