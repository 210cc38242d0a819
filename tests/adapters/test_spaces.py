"""Any point of any space is on a real model what its space says it costs."""

import random
from pathlib import Path

import pytest
import torch
from backbones.architectures import find, inputs, save
from dsl import generated
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiny import save_model

from autopeft.adapters import attach
from autopeft.backbones import Backbone, load_backbone
from autopeft.dsl import Space
from autopeft.dsl.finding import find_space
from autopeft.errors import BackboneError, BudgetError, SpaceError
from autopeft.nouns import Problem
from autopeft.registry import space_names

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "problem"),
    [("gpt2", "causal-lm"), ("llama", "causal-lm"), ("t5", "seq2seq"), ("bart", "seq2seq"), ("roberta", "token-classification")],
)  # fmt: skip
def test_spaces_that_ship_are_for_language_models_too(kind: str, problem: Problem, tmp_path: Path) -> None:
    """Those that cannot be bound to one so small, or to GPT-2's fused map, are refused when they are bound."""
    folder = save_model(kind, tmp_path, ["to be or not to be"], around="$A </s>")
    backbone = load_backbone(str(folder), modality="text", problem=problem, num_labels=3)
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    if problem == "seq2seq":
        batch["decoder_input_ids"] = torch.tensor([[2, 9, 10]])
    bound = set()
    for name in space_names():
        try:
            space = find_space(name).bind(backbone.layout.shape, backbone.layout.shape.parameters // 4)
        except (BackboneError, BudgetError, SpaceError):
            continue
        bound.add(name)
        for assignment in space.sample(random.Random(0), 3):
            attached = attach(
                backbone.model,
                backbone.layout,
                backbone.head,
                space.configuration(assignment),
                task_type=backbone.task_type,
                steps=4,
            )
            attached.runner(**batch).logits.sum().backward()
            assert any(p.grad is not None for p in attached.module_parameters())
            attached.detach()
    assert {"autopeft", "lora", "mam", "sparse"} <= bound
