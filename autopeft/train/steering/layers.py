"""Importance-aware sparse tuning: every step trains the modules of some layers. Yao et al. 2024 (2410.11772), and its code.

Notation:
    s_l         score of layer l, 0 at first: high where damping its modules does no harm
    p_l         sigma(s_l)
    K           looks at importance in a round: 3

A step trains layers that are drawn with weights 1 - p_l. Every so many steps a round damps the modules of layers that are drawn with
weights p_l, K times, and looks at the loss of one batch; layers whose damping was better than the round's mean go up:

    s_l += eta (R_k - mean R) / deviation R * p_l (1 - p_l)

R = -loss. The code has exp(-loss) and eta = 10, so that a step is as large as the loss lets it be; in units of the round's own deviation
it is the same for every loss.
"""

import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from autopeft.adapters.bottleneck import Bottleneck
from autopeft.allocate.layers import layer_set, multipliers, scaled, within
from autopeft.allocate.rules import draw
from autopeft.backbones import Layout
from autopeft.nouns import BackboneShape, Configuration
from autopeft.train.steering.steering import Settled, Steered

LOOKS = 3
_RATE = 1.0
_MOST_DRAWS = 20  # for a set of layers that the round does not have yet
_OWN = re.compile(r"autopeft_modules\.layer(\d+)_")


@dataclass
class Layers:
    """Which layers' modules a step trains.

    Attributes:
        configuration: What is trained.
        shape: Of the backbone.
        parameters: Of the modules in each layer that has any.
        scalings: What sets the factor of each module's output in each layer, and the factor it has.
        active: How many layers a step trains.
        damped: How many a look damps; 0 for no looks: every layer is as likely as another.
        damping: What a damped module's output is multiplied with.
        every: Steps between two rounds.
        loss: Of some examples; with a generator that draws the same ones each time it has the same state.
        rng: Of all draws.
        scores: s_l.
    """

    configuration: Configuration
    shape: BackboneShape
    parameters: dict[int, list[nn.Parameter]]
    scalings: dict[int, list[tuple[Callable[[float], None], float]]]
    active: int
    damped: int
    damping: float
    every: int
    loss: Callable[[random.Random], float]
    rng: random.Random
    scores: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores = dict.fromkeys(self.parameters, 0.0)

    def harmless(self) -> dict[int, float]:
        """p_l."""
        return {layer: float(1 / (1 + np.exp(-score))) for layer, score in self.scores.items()}

    def importance(self) -> dict[int, float]:
        """1 - p_l: what is handed out as the layers' importance."""
        return {layer: 1 - p for layer, p in self.harmless().items()}

    def choose(self) -> tuple[int, ...]:
        """Draw the layers of the next step: only their modules have gradients from now on."""
        weights = self.importance()
        keys = list(weights)
        chosen = tuple(keys[i] for i in draw(list(weights.values()), self.active, self.rng))
        for layer, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(layer in chosen)
                if layer not in chosen:
                    parameter.grad = None  # AdamW moves what has a gradient, be it 0
        return chosen

    def before(self, step: int) -> None:
        """Perhaps a round, then the draw."""
        if self.damped and step and step % self.every == 0:
            seed = self.rng.random()
            self.look(lambda: self.loss(random.Random(seed)))
        self.choose()

    def gradients(self, step: int) -> None:
        """What does not move has none."""

    def parts(self) -> tuple[Settled, ...]:
        """Nothing besides."""
        return ()

    def finish(self) -> None:
        """All modules stay."""

    def look(self, loss: Callable[[], float]) -> None:
        """A round: damp, look, put back, and move the scores."""
        p = self.harmless()
        keys = list(p)
        seen: list[tuple[tuple[int, ...], float]] = []
        for _ in range(LOOKS):
            for _ in range(_MOST_DRAWS):
                chosen = tuple(keys[i] for i in draw(list(p.values()), self.damped, self.rng))
                if chosen not in [one for one, _ in seen]:
                    break
            with self._damp(chosen):
                seen.append((chosen, -loss()))
        rewards = np.array([reward for _, reward in seen])
        deviation = float(rewards.std())
        if not np.isfinite(deviation) or deviation < 1e-12:
            return  # nothing is known of any layer
        for (chosen, _), advantage in zip(seen, (rewards - rewards.mean()) / deviation, strict=True):
            for layer in chosen:
                self.scores[layer] += _RATE * float(advantage) * p[layer] * (1 - p[layer])

    def to_json(self) -> dict[str, Any]:
        """The importance of each layer; where it was looked at, what it means too: see `autopeft.allocate.layers`."""
        importance = self.importance()
        found: dict[str, Any] = {"layers": _by_layer(importance)}
        if self.damped:
            chosen, factors = layer_set(importance, self.active), multipliers(importance)
            found["layer_set"], found["multipliers"] = list(chosen), _by_layer(factors)
            found["configurations"] = {
                "layer_set": within(self.configuration, chosen).to_json(),
                "multipliers": scaled(self.configuration, factors, self.shape).to_json(),
            }
        return found

    def _damp(self, layers: tuple[int, ...]) -> "_Damped":
        return _Damped([pair for layer in layers for pair in self.scalings[layer]], self.damping)


def _by_layer(values: Mapping[int, float]) -> dict[str, float]:
    return {str(layer): round(value, 4) for layer, value in values.items()}


@dataclass
class _Damped:
    """Inside, modules say less; each has its own factor again afterwards, whatever happens."""

    scalings: list[tuple[Callable[[float], None], float]]
    damping: float

    def __enter__(self) -> None:
        for put, factor in self.scalings:
            put(factor * self.damping)

    def __exit__(self, *error: object) -> None:
        for put, factor in self.scalings:
            put(factor)


def find_layers(steered: Steered, options: Mapping[str, Any]) -> Layers | None:
    """The layers of the modules that are on; None where they are in fewer than two, so that there is nothing to choose.

    Args:
        steered: The trial.
        options: `active`, and of ist `damped`, `damping` and `every`.
    """
    attached, layout = steered.attached, steered.layout
    parameters: dict[int, list[nn.Parameter]] = {}
    for name, parameter in attached.model.named_parameters():
        if parameter.requires_grad and (layer := _layer_of(name, layout)) is not None:
            parameters.setdefault(layer, []).append(parameter)
    if len(parameters) < 2:
        return None
    scalings: dict[int, list[tuple[Callable[[float], None], float]]] = {layer: [] for layer in parameters}
    for name, module in attached.model.named_modules():
        layer = _layer_of(f"{name}.", layout)
        if layer in scalings:
            scalings[layer].extend(_factors(module))
    count = len(parameters)
    return Layers(
        steered.configuration,
        layout.shape,
        dict(sorted(parameters.items())),
        scalings,
        active=max(1, round(options["active"] * count)),
        damped=max(1, round(options["damped"] * count)) if "damped" in options else 0,
        damping=options.get("damping", 1.0),
        every=options.get("every", 0),
        loss=steered.loss,
        rng=random.Random(steered.seed),
    )


def _layer_of(name: str, layout: Layout) -> int | None:
    if match := _OWN.match(name):
        return int(match[1])
    return next((i for i, layer in enumerate(layout.layers) if name.startswith(f"{layer.path}.")), None)


def _factors(module: nn.Module) -> Iterator[tuple[Callable[[float], None], float]]:
    if isinstance(module, Bottleneck):
        yield functools.partial(setattr, module, "scaling"), float(module.scaling)
        return
    scaling = getattr(module, "scaling", None)
    if isinstance(scaling, dict) and hasattr(module, "lora_A"):  # peft's, by adapter
        for key, value in scaling.items():
            yield functools.partial(scaling.__setitem__, key), float(value)
