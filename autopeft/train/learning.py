"""How far a trial's learning has come: out of its optimiser, its schedule and its modules, and into new ones of the same trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from autopeft.adapters import adalora
from autopeft.adapters.stack import Stack


@dataclass(frozen=True, eq=False)
class Learning:
    """What learns, in a trial.

    Attributes:
        optimizer, schedule: Of what is trained.
        stack: The modules.
        device: Where they are.
    """

    optimizer: Optimizer
    schedule: LRScheduler
    stack: Stack
    device: torch.device

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in the optimiser's order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def state(self) -> dict[str, Any]:
        """Where the schedule is, and the ranks that there are; JSON."""
        return {"schedule": self.schedule.state_dict(), "ranks": adalora.ranks(self.stack)}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is trained, the optimiser's moments, what AdaLoRA judges by, and where chance is."""
        found: dict[str, torch.Tensor] = {
            f"trained.{number}": p for number, p in enumerate(self.parameters())
        }
        for number, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{key}": tensor for key, tensor in state.items()}
        found |= {f"ranks.{name}": tensor for name, tensor in adalora.judged(self.stack).items()}
        # Nothing draws chance while modules are trained in evaluation mode, as all of today's are; one of tomorrow's may.
        found["chance.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["chance.cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `state` and `tensors` of the same trial have said."""
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(tensors[f"trained.{number}"])
        own = self.optimizer.state_dict()
        own["state"] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            at, _, key = name.partition(".")
            own["state"].setdefault(int(at), {})[key] = tensor
        self.optimizer.load_state_dict(own)
        self.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        adalora.load_state(self.stack, state["ranks"], _under("ranks.", tensors))
        torch.set_rng_state(tensors["chance.cpu"])
        if "chance.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["chance.cuda"], self.device)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
