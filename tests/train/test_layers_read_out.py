"""What a trial's record says of the importance of its layers."""

import pytest
import torch

from autopeft.allocate.layers import layer_set, multipliers, within
from autopeft.dsl import trainable_parameters
from autopeft.nouns import Configuration, Module
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.running import Request, Running
from autopeft.train.steering.layers import Layers

torch.set_num_threads(1)
LORA = Module("lora", 4, (0, 1, 2, 3), (("alpha", 8), ("sites", ("q", "up"))))


@pytest.mark.parametrize("kind", ["ist", "rst"])
def test_the_record_has_what_importance_means_where_it_was_looked_at(kind: str) -> None:
    bench = Workbench.prepare("starter", {}, resolve_task("starter").settings, Training(epochs=1))
    shape = bench.backbone.layout.shape
    chosen = Configuration.of([LORA], 5e-3, None, {"type": kind, "active": 0.5})
    running = Running(bench, Request(chosen, 0, None))
    try:
        layers = running._steering
        assert isinstance(layers, Layers)
        layers.scores |= {0: 2.0, 1: -3.0, 2: 1.0, 3: -1.0}  # planted: high is harmless
        record = layers.to_json()
    finally:
        running.attached.detach()
    if kind == "rst":
        assert set(record) == {"layers"}
        return
    importance = layers.importance()
    assert record["layer_set"] == list(layer_set(importance, 2)) == [1, 3]
    factors = multipliers(importance)
    assert record["multipliers"] == {str(layer): round(value, 4) for layer, value in factors.items()}
    means = {name: Configuration.from_json(one) for name, one in record["configurations"].items()}
    assert means["layer_set"] == within(chosen, (1, 3))
    ranks = {i: m.size for m in means["multipliers"].modules for i in m.layers}
    assert ranks[1] > ranks[3] > ranks.get(2, 0) >= ranks.get(0, 0)
    assert trainable_parameters(means["multipliers"], shape) <= trainable_parameters(chosen, shape)
