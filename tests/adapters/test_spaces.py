"""Any point of any space is on a real model what its space says it costs."""

import random

import pytest
import torch
from backbones.architectures import find, inputs, save
from dsl import generated
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from autopeft.adapters import attach
from autopeft.backbones import Backbone, load_backbone
from autopeft.dsl import Space
from autopeft.errors import BackboneError, BudgetError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    path = save(find("BERT"), tmp_path_factory.mktemp("bert"))
    return load_backbone(path, modality="text", num_labels=3, problem="classification")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(space=generated.spaces(layers=2), seed=st.integers(0, 10**6))
def test_cost_is_what_is_built(backbone: Backbone, space: Space, seed: int) -> None:
    try:
        bound = space.bind(backbone.layout.shape, 10**6)
    except (BackboneError, BudgetError):
        assume(False)
    batch = inputs(find("BERT"))
    with torch.no_grad():
        before = backbone.model(**batch).logits
    for assignment in bound.sample(random.Random(seed), 2):
        configuration = bound.configuration(assignment)
        torch.manual_seed(0)
        attached = attach(backbone.model, backbone.layout, backbone.head, configuration)
        try:
            assert sum(p.numel() for p in attached.module_parameters()) == bound.cost(assignment)
            with torch.no_grad():
                after = backbone.model(**batch).logits
        finally:
            attached.detach()
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)  # PiSSA puts a weight together again
