"""A super-adapter: a part of it is the configuration itself, and training it ranks what was never trained."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autopeft.adapters import Attached, attach
from autopeft.adapters.own import own_name
from autopeft.dsl import BoundSpace, read_space
from autopeft.nouns import Configuration, Module
from autopeft.tasks.batches import epoch_order
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench
from autopeft.train.elastic import Elastic, cuts, elastic_scores, gradient_scores, super_adapter, supports

SPACE = """
name: some
layers: {subset: all}
modules:
  serial:   {type: bottleneck, position: serial, size: {choice: [0, 2, 6]}}
  parallel: {type: bottleneck, position: parallel, scaling: 4, size: {choice: [0, 3, 5]}}
  prefix:   {type: prefix, size: {choice: [0, 2]}}
  lora:
    type: lora
    sites: [q, v]
    rank: {per: layer, of: {choice: [0, 1, 4]}}
    alpha: {choice: [4, 8]}
    rslora: {choice: [false, true]}
training: {learning_rate: {float: [1.0e-3, 1.0e-1], log: true}}
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Workbench:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    words = ("good", "bad")
    rows = [f"this film is {words[i % 2]}, says critic {i}\t{words[i % 2]}" for i in range(48)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    task = resolve_task(str(folder / "train.tsv"), max_length=32)
    training = Training(epochs=2, batch_size=8)
    return Workbench.prepare(str(minilm_folder), {"num_hidden_layers": 2}, task.settings, training)


@pytest.fixture(scope="module")
def space(bench: Workbench) -> BoundSpace:
    return bound(bench, SPACE)


def bound(bench: Workbench, text: str) -> BoundSpace:
    shape = bench.backbone.layout.shape
    return read_space(text, "some.yaml").bind(shape, shape.parameters)


@pytest.fixture
def elastic(bench: Workbench, space: BoundSpace) -> Iterator[Elastic]:
    elastic = Elastic(bench, space, seed=0)
    try:
        with torch.no_grad():  # identity would hide what is cut where
            for parameter in elastic.trainable:
                parameter.normal_(std=0.2)
        yield elastic
    finally:
        elastic.close()


def weights(bench: Workbench) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(bench.backbone.model.named_parameters()):
        if not name.startswith(bench.backbone.head):
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def logits(bench: Workbench, model: torch.nn.Module) -> torch.Tensor:
    (batch,) = bench.batches("validation", torch.arange(4))
    del batch["labels"]
    with torch.inference_mode():
        found: torch.Tensor = model(**batch).logits
    return found.clone()


def test_the_super_adapter_is_the_largest_everywhere(space: BoundSpace) -> None:
    whole = super_adapter(space)
    sizes = {
        (spot.type, dict(spot.options).get("position"), cut.size)
        for spot, cut in cuts(whole, space.shape).items()
    }
    assert sizes == {
        ("bottleneck", "serial", 6),
        ("bottleneck", "parallel", 5),
        ("prefix", None, 2),
        ("lora", None, 4),
    }
    # serial, parallel and prefix in both layers; LoRA of both scalings at two sites of both
    assert len(cuts(whole, space.shape)) == 3 * 2 + 2 * 2 * 2
    assert whole.learning_rate == 0.01  # the middle


def tensors(
    bench: Workbench, attached: Attached, configuration: Configuration
) -> dict[tuple[object, ...], torch.Tensor]:
    """Every module's tensors by what the module is and where, whatever its size."""
    found: dict[tuple[object, ...], torch.Tensor] = {}
    for module in configuration.modules:
        if module.type != "lora":
            for layer in module.layers:
                own = attached.own[own_name(module, layer, module.sites[0])]
                position = dict(module.options).get("position")
                found |= {(module.type, position, layer, name): t for name, t in own.named_parameters()}
    for planned, adapter in zip(attached.planned, attached.stack.adapters, strict=True):
        for path, layer in adapter.layers.items():
            for name, factor in (("A", layer.lora_A), ("B", layer.lora_B)):
                found[planned.options["rslora"], path, name] = factor["default"].weight
    return found


def test_a_part_of_it_is_the_configuration(bench: Workbench, space: BoundSpace, elastic: Elastic) -> None:
    """What stands after `take` answers as the configuration's own modules do with the first part of each tensor."""
    configurations = [space.configuration(a) for a in space.sample(random.Random(3), 12)]
    shared = {key: t.detach() for key, t in tensors(bench, elastic.attached, elastic.whole).items()}
    answers = []
    for configuration in configurations:
        elastic.take(configuration)
        answers.append(logits(bench, elastic.attached.runner))
    elastic.take(Configuration.of([], 0.01))
    nothing = logits(bench, elastic.attached.runner)
    head = elastic.attached.head_state()
    elastic.close()
    for configuration, answer in zip(configurations, answers, strict=True):
        backbone = bench.backbone
        attached = attach(
            backbone.model, backbone.layout, backbone.head, configuration, task_type=backbone.task_type
        )
        try:
            with torch.no_grad():
                for key, tensor in tensors(bench, attached, configuration).items():
                    tensor.copy_(shared[key][tuple(slice(n) for n in tensor.shape)])
                for path, tensor in attached.head_state().items():
                    tensor.copy_(head[path])
            found = logits(bench, attached.runner)
        finally:
            attached.detach()
        torch.testing.assert_close(found, answer, rtol=1e-4, atol=1e-5)
        assert (found - nothing).abs().max() > 1e-3
    assert {m.type for c in configurations for m in c.modules} == {"bottleneck", "prefix", "lora"}


def test_only_what_is_taken_is_trained(bench: Workbench, elastic: Elastic) -> None:
    shared = tensors(bench, elastic.attached, elastic.whole)
    module = Module("bottleneck", 2, (1,), (("position", "serial"), ("sites", ("ffn",))))
    elastic.take(Configuration.of([module], 0.01))
    (batch,) = bench.batches("train", torch.arange(8))
    labels = batch.pop("labels")
    bench.loss_of(elastic.attached.runner(**batch).logits, labels).backward()
    moved = {key: t.grad for key, t in shared.items() if t.grad is not None and t.grad.any()}
    names = ("down.weight", "down.bias", "up.weight", "up.bias")
    assert moved.keys() == {("bottleneck", "serial", 1, name) for name in names}
    units = [moved["bottleneck", "serial", 1, name] for name in names]
    assert [tuple(units[0].shape), tuple(units[2].shape)] == [
        (6, 384),
        (384, 6),
    ]  # the whole is what is trained
    assert not units[0][2:].any()
    assert not units[1][2:].any()
    assert not units[2][:, 2:].any()


def test_what_is_of_another_space_is_refused(bench: Workbench, elastic: Elastic) -> None:
    other = Module(
        "bottleneck", 2, (1,), (("activation", "tanh"), ("position", "serial"), ("sites", ("ffn",)))
    )
    with pytest.raises(ValueError, match="which has nothing like it there"):
        elastic.take(Configuration.of([other], 0.01))
    with pytest.raises(ValueError, match="which has sizes up to 6 there"):
        elastic.take(Configuration.of([replace(other, size=7, options=other.options[1:])], 0.01))


def test_it_ranks_what_it_never_trained_and_leaves_nothing(bench: Workbench, space: BoundSpace) -> None:
    before = weights(bench)
    found = elastic_scores(bench, space, 1, epochs=1, together=2, configurations=10, examples=6)
    assert weights(bench) == before
    assert not any(p.requires_grad for p in bench.backbone.model.parameters())
    points = [point for point, _ in found.scores]
    assert len(set(points)) == 10
    assert all(space.valid(point) and space.canonical(point) == point for point in points)
    scores = [score for _, score in found.scores]
    assert len(set(scores)) > 5
    assert found.seconds > 0
    again = elastic_scores(bench, space, 1, epochs=1, together=2, configurations=10, examples=6)
    assert again.scores == found.scores
    other = elastic_scores(bench, space, 2, epochs=1, together=2, configurations=10, examples=6)
    assert other.scores != found.scores


def test_gradients_are_those_of_the_configurations_themselves(bench: Workbench, space: BoundSpace) -> None:
    """The norm that a part of the super-adapter's gradient has is that of the configuration, taken alone."""
    before = weights(bench)
    found = gradient_scores(bench, space, 0, epochs=0, configurations=6, examples=16)
    assert weights(bench) == before
    assert len(found.scores) == 6
    elastic = Elastic(bench, space, 0)
    try:
        (batch,) = bench.batches("train", epoch_order(len(bench.data["train"]), 0, 0)[:16])
        modules = elastic.attached.module_parameters()
        for point, score in found.scores:
            elastic.take(space.configuration(point))
            elastic.loss(batch).backward()
            squares = [p.grad.square().sum() for p in modules if p.grad is not None]
            assert score == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-3)
            for parameter in modules:
                parameter.grad = None
    finally:
        elastic.close()
    trained = gradient_scores(bench, space, 0, epochs=2, configurations=6, examples=16)
    assert [point for point, _ in trained.scores] == [point for point, _ in found.scores]
    assert trained.scores != found.scores


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("{type: sparse, sites: [q], density: {choice: [0.001, 0.01]}}", "'m' is of type sparse"),
        ("{type: oft, sites: [q], block_size: {choice: [0, 4]}}", "'m' is of type oft"),
        ("{type: lora, sites: [q], rank: {choice: [1, 4]}, dora: {choice: [false, true]}}", "may have dora"),
        ("{type: lora, sites: [q], rank: {choice: [1, 4]}, init: pissa}", "init default alone"),
    ],
)
def test_spaces_that_share_nothing_are_refused(bench: Workbench, module: str, reason: str) -> None:
    space = bound(bench, f"name: one\nmodules: {{m: {module}}}\ntraining: {{learning_rate: 0.01}}\n")
    assert reason in supports(space)
    with pytest.raises(ValueError, match=reason):
        elastic_scores(bench, space, 0)


def test_spaces_whose_sizes_nest_are_supported(bench: Workbench, space: BoundSpace) -> None:
    assert supports(space) == ""
