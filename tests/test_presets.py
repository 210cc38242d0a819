"""The search spaces that ship: where they are from, how large they are, and that they run."""

import random
from pathlib import Path

import pytest
import torch
from end_to_end import answer, autopeft
from shapes import BERT, VIT

from autopeft.backbones import model_path, read_backbone
from autopeft.dsl import MODULE_TYPES, Choice, ModuleSpec, OneOf, read_space, trainable_parameters
from autopeft.dsl.finding import find_space
from autopeft.nouns import BackboneShape, Configuration
from autopeft.registry import space_names
from autopeft.tasks.load import resolve_task
from autopeft.train import Training, Workbench

LAYERS = 2**12 - 1  # sets of layers of BERT-base that are not empty
EACH = 4 * (768 + 768) + 2 * (768 + 3072)  # inputs and outputs of the six linear maps of a layer
# Name to smallest and largest cost on BERT-base, and configurations (the learning rate, an interval, counts as one).
SIZES = {
    "autopeft": (2 * 768, 12 * (2 * (2 * 768 * 768 + 2 * 768) + 2 * 768 * 768), (11**3 - 1) * LAYERS),
    "lora": (2 * 768, 12 * 32 * EACH, 6 * 63 * LAYERS),
    # 63 sets of sites, three inits, rslora or not, dora (which trains a norm an output) or not; not all ranks are 0
    "lora-anatomy": (2 * 768, 12 * (16 * EACH + 5 * 768 + 3072), 63 * 3 * 2 * 2 * (6**12 - 1)),
    "mam": (2 * 768 + 3 * 768 + 1, 12 * (30 * 2 * 768 + 2 * 384 * 768 + 384 + 768), 5 * 7 * LAYERS),
    # The alternatives: prefix; bottleneck; lora; prefix with parallel; prefix with lora.
    "unified": (
        2 * 768,
        12 * (30 * 2 * 768 + 2 * 384 * 768 + 384 + 768),
        (5 + 3 * 2 * 2 * 2 * 6 + 15 * 6 * 3 + 5 * 7 + 5 * 6 * 3) * LAYERS,
    ),
    "sparse": (177, 12 * (4 * 58_982 + 2 * 235_930), 2 * 63 * LAYERS),
    # smallest: PSOFT of rank 4 at two places; largest: C3A of blocks of 4
    "all-types": (2 * (4 * 3 // 2 + 8), 12 * 2 * 768 * 768 // 4, 1 + 135 * LAYERS),
    "tiny": (2 * 2 * 768, 2 * 2 * 2 * 2 * 768, 3 * 2 * 2),
}


@pytest.fixture(scope="module")
def starter() -> BackboneShape:
    return read_backbone(model_path("starter"))[1].shape


def test_these_ship() -> None:
    assert set(space_names()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_name_and_source(name: str) -> None:
    space = find_space(name)
    assert space.name == name
    assert "arXiv" in space.source or "docs/" in space.source


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    bound = find_space(name).bind(BERT, 10**9)
    assert (bound.smallest, bound.largest, bound.cardinality) == SIZES[name]


@pytest.mark.parametrize("model", ["starter", "vit", "bert"])
@pytest.mark.parametrize("name", SIZES)
def test_binds_and_samples_inside_a_budget(name: str, model: str, starter: BackboneShape) -> None:
    shape = {"starter": starter, "vit": VIT, "bert": BERT}[model]
    bound = find_space(name).bind(shape, shape.parameters // 50)
    found = set()
    for assignment in bound.sample(random.Random(0), 50):
        configuration = bound.configuration(assignment)
        assert trainable_parameters(configuration, shape) == bound.cost(assignment) <= bound.limit
        found.add(configuration.key)
    assert len(found) >= min(bound.cardinality // 4, 30)


def test_the_space_of_autopeft_is_that_of_the_paper() -> None:
    """Zhou et al. 2024: 768 / 2^k for k from 0 to 10, where 9 is 1 and 10 is absent; one switch a layer."""
    bound = find_space("autopeft").bind(BERT, 10**9)
    *layers, serial, parallel, prefix, rate = bound.decisions
    assert [d.name for d in layers] == [f"layers.{i}" for i in range(12)]
    sizes = sorted({9: 1, 10: 0}.get(k, 768 // 2**k) for k in range(11))
    for decision in (serial, parallel, prefix):
        assert list(decision.values) == sizes  # type: ignore[union-attr]
    assert rate.name == "learning_rate"
    text = find_space("autopeft").text
    assert f"11^3 * 2^12 = {11**3 * 2**12:,}" in text
    assert f"{bound.cardinality:,} of them have a module in some layer" in text.replace("\n# ", " ")
    assert bound.cardinality == 5_446_350


def test_all_types_has_them_all() -> None:
    """All that need no token embeddings, which a model of images has not."""
    adapter = find_space("all-types").modules["adapter"]
    assert isinstance(adapter, OneOf)
    there = {option.type for option in adapter.options if isinstance(option, ModuleSpec)}
    assert there == {name for name, t in MODULE_TYPES.items() if t.at != "input" or name == "frozen"}


def test_the_largest_mam_is_that_of_the_paper() -> None:
    modules = find_space("mam").modules
    sizes = {name: spec.fields["size"] for name, spec in modules.items() if isinstance(spec, ModuleSpec)}
    assert all(isinstance(size, Choice) for size in sizes.values())
    assert (sizes["attention"].values[-1], sizes["ffn"].values[-1]) == (30, "hidden // 2")  # type: ignore[union-attr]


def test_text_that_ships_is_text_that_is_read() -> None:
    for name in space_names():
        space = find_space(name)
        assert read_space(space.text, name) == space


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """The starter's backbone and data, on a worker as a search has them."""
    torch.set_num_threads(1)
    task = resolve_task("starter")
    return Workbench.prepare("starter", {}, task.settings, Training(epochs=1, batch_size=64))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SIZES)
def test_trains_on_the_starter(name: str, bench: Workbench) -> None:
    """A configuration of every alternative, so of every type of module, and scored above chance."""
    shape = bench.backbone.layout.shape
    bound = find_space(name).bind(shape, shape.parameters // 20)
    rng = random.Random(0)
    ways: dict[object, Configuration] = {}
    for assignment in bound.sample(rng, 2000):
        way = tuple(v for v, role in zip(assignment, bound.roles, strict=True) if role.kind == "gate")
        ways.setdefault(way, bound.configuration((*assignment[:-1], 0.01)))
    assert len(ways) == len(bound.ways)
    for configuration in ways.values():
        *_, last = bench.trial(configuration, 0, None)
        assert last.last
        assert last.values["score"] > 0.15, configuration  # ten classes


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_runs_by_the_installed_command(tmp_path: Path) -> None:
    done = autopeft(
        tmp_path,
        *(
            "search",
            "--space",
            "lora-anatomy",
            "--budget",
            "3%",
            "--trials",
            "1",
            "--workers",
            "1",
            "--epochs",
            "1",
        ),
        *("--study", "one"),
        seconds=1100,
    )
    assert done.returncode == 0, done.stderr
    (study,) = answer(tmp_path, "studies")
    assert (study["space"], study["complete"], study["failed"]) == ("lora-anatomy", 1, 0)
