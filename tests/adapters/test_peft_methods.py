"""What peft builds is what the table of types says, over shapes and options; and how modules become adapters."""

import dataclasses
from typing import Any

import peft
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.adapters.attach import quietly
from autopeft.adapters.peft_methods import METHODS, Planned, peft_configs
from autopeft.backbones.layout import LayerLayout, Layout
from autopeft.dsl.module_type import Field
from autopeft.dsl.peft_types import PEFT_TYPES
from autopeft.errors import BackboneError
from autopeft.nouns import BackboneShape, LayerShape, Module, Place

torch.set_num_threads(1)
torch.sparse.check_sparse_tensor_invariants.disable()  # as `attach` does it for SHiRA
LINEAR = sorted(name for name, known in PEFT_TYPES.items() if known.at == "linear")


class Maps(nn.Module):
    """A model whose layers are linear maps `q` and `v`."""

    def __init__(self, places: list[dict[str, Place]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({site: self._map(place) for site, place in layer.items()}) for layer in places
        )

    def _map(self, place: Place) -> nn.Module:
        if place.transposed:
            return Conv1D(place.outputs, place.inputs)
        return nn.Linear(place.inputs, place.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers[0]["q"](x)  # type: ignore[index]
        return y


def layout(places: list[dict[str, Place]]) -> Layout:
    layers = [
        LayerLayout(f"layers.{i}", {site: f"layers.{i}.{site}" for site in layer}, "", (), {})
        for i, layer in enumerate(places)
    ]
    shape = BackboneShape(100, 8, 2, 8, tuple(LayerShape(layer) for layer in places))
    return Layout(tuple(layers), shape, "", ())


def plan(places: list[dict[str, Place]], *modules: Module) -> list[Planned]:
    with quietly():
        return peft_configs(Maps(places), layout(places), modules, (), task_type=None, steps=10)


def module(
    type_: str, size: float, layers: tuple[int, ...] = (0,), sites: str = "q", **options: Any
) -> Module:
    return Module(type_, size, layers, tuple(sorted([*options.items(), ("sites", tuple(sites))])))


def value_of(field: Field, size: float) -> st.SearchStrategy[Any]:
    if field.kind == "word":
        return st.sampled_from(field.words)
    if field.kind == "boolean":
        return st.booleans()
    if field.kind == "integer":
        return st.integers(int(field.low), 12)
    return st.floats(max(field.low, 0.01), 20, allow_nan=False)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Place, Module]:
    name = draw(st.sampled_from(LINEAR))
    known = PEFT_TYPES[name]
    size: float = 1
    if known.size_kind == "fraction":
        size = draw(st.floats(0.001, 1))
    elif known.size:
        size = draw(st.integers(1, 24))
    options = {
        field: draw(value_of(one, size))
        for field, one in known.fields.items()
        if (one.default is None and one.times_size is None) or draw(st.booleans())
    }
    assume(options.get("init") not in ("eva", "corda", "loftq"))  # they need data, or a GPU
    # Mostly numbers with divisors, so that blocks have a chance.
    side = st.sampled_from([1, 2, 3, 4, 6, 7, 8, 12, 16, 24])
    return Place("linear", draw(side), draw(side), transposed=draw(st.booleans())), module(
        name, size, **options
    )


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(cases())
def test_what_has_no_objection_is_built_as_the_table_says(case: tuple[Place, Module]) -> None:
    """And runs, on a square map or not, `Conv1D` or not."""
    place, one = case
    places = [{"q": place}]
    known = PEFT_TYPES[one.type]
    options = {
        name: f.default if f.times_size is None else one.size * f.times_size
        for name, f in known.fields.items()
    }
    options |= {name: value for name, value in one.options if name != "sites"}
    reason = known.objection(one.size, options, place)
    if reason:
        with pytest.raises(BackboneError, match="cannot be at q of layer 0") as raised:
            plan(places, one)
        assert str(raised.value).endswith(f"{reason}.")
        assert "allowed are" in reason
        return
    model = Maps(places)
    with quietly():
        wrapper = get_peft_model(model, plan(places, one)[0].config)
    built = sum(p.numel() for p in wrapper.parameters() if p.requires_grad)
    shape = layout(places).shape
    assert built == known.trainable(one.size, options, place) + known.shared(one.size, options, shape)
    assert model(torch.randn(2, 3, place.inputs)).shape == (2, 3, place.outputs)


@pytest.mark.parametrize(
    ("one", "place", "said"),
    [
        (
            module("lora", 2, init="olora"),
            Place("linear", 4, 6, transposed=True),
            "shapes cannot be multiplied",
        ),
        (module("lora", 3, init="orthogonal"), Place("linear", 4, 6), "rank to be even"),
        (module("loha", 2), Place("linear", 4, 6, transposed=True), "not supported"),
        (module("boft", 3), Place("linear", 4, 6), "must be divisible"),
        (module("vblora", 2, num_vectors=4, vector_length=4), Place("linear", 4, 6), "must be divisible"),
        (module("fourierft", 30), Place("linear", 4, 6), "less than or equal to the product"),
        (module("miss", 5), Place("linear", 4, 6), "less than or equal to in_features"),
        (module("miss", 4, mode="bat"), Place("linear", 4, 6), "fully divisible"),
        (module("c3a", 4), Place("linear", 4, 6), "factor of the output size"),
        (module("gralora", 4, gralora_k=4), Place("linear", 4, 6), "divisible by gralora_k"),
        (module("psoft", 5), Place("linear", 4, 6), "less than or equal to min"),
        (module("shira", 3), Place("linear", 4, 6), "more shira params"),
        (module("supertuning", 0.01), Place("linear", 4, 6), "no trainable entries"),
    ],
    ids=lambda x: x.type if isinstance(x, Module) else "",
)
def test_objections_are_peft_s(one: Module, place: Place, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the table refuses, peft refuses too, or builds wrongly."""
    places = [{"q": place}]
    with pytest.raises(BackboneError):
        plan(places, one)
    known = PEFT_TYPES[one.type]
    monkeypatch.setitem(
        PEFT_TYPES, one.type, dataclasses.replace(known, objection=lambda size, options, place: "")
    )

    def build_and_run() -> None:
        model = Maps(places)
        get_peft_model(model, plan(places, one)[0].config)
        model(torch.randn(2, 3, place.inputs))

    with pytest.raises((ValueError, RuntimeError, TypeError), match=said), quietly():
        build_and_run()


def test_pissa_would_have_fewer_ranks_than_it_was_asked_for() -> None:
    model = Maps([{"q": Place("linear", 4, 6)}])
    with quietly():
        get_peft_model(model, peft.LoraConfig(r=5, init_lora_weights="pissa", target_modules=["layers.0.q"]))
    assert model.layers[0]["q"].lora_A["default"].weight.shape == (4, 4)  # type: ignore[index]
    with pytest.raises(BackboneError, match="rank 5 is more than the 4 singular values"):
        plan([{"q": Place("linear", 4, 6)}], module("lora", 5, init="pissa"))


SQUARE = Place("linear", 8, 8)
UNEVEN = [{"q": SQUARE, "v": Place("linear", 8, 4)}, {"q": Place("linear", 8, 12), "v": SQUARE}]


def test_every_type_has_a_method_whose_names_are_peft_s() -> None:
    assert METHODS.keys() == PEFT_TYPES.keys()
    for name, method in METHODS.items():
        known = {f.name for f in dataclasses.fields(getattr(peft, method.config))}
        ours = {*PEFT_TYPES[name].fields, PEFT_TYPES[name].size} - {""}
        assert {*method.names, *method.patterns, *method.lists, *method.read} <= ours, name
        assert {*method.names.values(), *method.patterns.values(), *method.lists.values()} <= known, name
        assert ours - set(method.read) <= {*method.names, *method.lists} | known, name


def test_ranks_that_differ_are_one_adapter_with_patterns() -> None:
    (one,) = plan(
        UNEVEN,
        module("lora", 2, (0, 1), "qv", alpha=4.0),
        module("lora", 3, (1,), "q", alpha=6.0, dora=False),
    )[:1]
    assert one.config.r == 2
    planned = plan(UNEVEN, module("lora", 2, (0,), "qv", alpha=4.0), module("lora", 3, (1,), "q", alpha=9.0))
    (one,) = planned
    assert one.config.target_modules == {"layers.0.q", "layers.0.v", "layers.1.q"}
    assert one.config.rank_pattern == {r"layers\.1\.q": 3}
    assert one.config.alpha_pattern == {r"layers\.1\.q": 9}
    model = Maps(UNEVEN)
    with quietly():
        get_peft_model(model, one.config)
    ranks = {path: m.r["default"] for path, m in model.named_modules() if hasattr(m, "lora_A")}
    assert ranks == {"layers.0.q": 2, "layers.0.v": 2, "layers.1.q": 3}
    scales = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}
    assert scales == {2.0, 3.0}


@pytest.mark.parametrize(
    ("type_", "options", "adapters"),
    [
        *((name, {}, 1) for name in ("lora", "loha", "lokr", "delora", "waveft")),
        ("lora", {"init": "eva"}, 2),  # it deals out anew the ranks that one adapter has
        ("adalora", {"target_rank": 1}, 2),
        *(
            (name, {}, 2)
            for name in ("oft", "vera", "randlora", "fourierft", "miss", "c3a", "shira", "psoft", "hira")
        ),
    ],
)
def test_sizes_that_differ(type_: str, options: dict[str, Any], adapters: int) -> None:
    """One adapter where peft has patterns for the type; what they build is exact either way."""
    places = [{"q": SQUARE}, {"q": SQUARE}]
    both = [module(type_, 2, (0,), **options), module(type_, 4, (1,), **options)]
    planned = plan(places, *both)
    assert len(planned) == adapters
    assert [path for one in planned for path in one.paths] == ["layers.0.q", "layers.1.q"]
    if options.get("init") == "eva":
        return
    built = 0
    for one in planned:
        with quietly():
            wrapper = get_peft_model(Maps(places), one.config)
        built += sum(p.numel() for p in wrapper.parameters() if p.requires_grad)
    known = PEFT_TYPES[type_]
    full = {name: f.default if f.times_size is None else 1 for name, f in known.fields.items()} | options
    assert built == sum(known.trainable(m.size, full, SQUARE) for m in both)


def test_the_places_of_one_module_share_a_bank_also_where_sites_differ() -> None:
    bank = {"num_vectors": 4, "vector_length": 4}
    (one,) = plan(UNEVEN, module("vblora", 2, (0,), "q", **bank), module("vblora", 2, (1,), "qv", **bank))
    model = Maps(UNEVEN)
    with quietly():
        wrapper = get_peft_model(model, one.config)
    assert sum(n.endswith("vector_bank.default") for n, _ in wrapper.named_parameters()) == 1


def test_feedforward_is_a_list_of_paths() -> None:
    (one,) = plan(
        UNEVEN,
        module("ia3", 1, (0, 1), "v", feedforward=True),
        module("ia3", 1, (0,), "q", feedforward=False),
    )
    assert one.config.feedforward_modules == {"layers.0.v", "layers.1.v"}
    assert one.config.target_modules == {"layers.0.q", "layers.0.v", "layers.1.v"}


def test_conv1d_and_linear_are_two_adapters() -> None:
    places = [{"q": Place("linear", 8, 8, transposed=True), "v": SQUARE}]
    planned = plan(places, module("lora", 2, (0,), "qv"))
    assert [(one.paths, one.config.fan_in_fan_out) for one in planned] == [
        (("layers.0.q",), True),
        (("layers.0.v",), False),
    ]


def test_one_linear_map_twice_is_two_adapters() -> None:
    assert len(plan(UNEVEN, module("lora", 2), module("lora", 3))) == 2


def test_a_layer_without_the_site_goes_without() -> None:
    (one,) = plan([{"q": SQUARE}, {"v": SQUARE}], module("lora", 2, (0, 1), "q"))
    assert one.paths == ("layers.0.q",)


def test_the_schedule_of_adalora() -> None:
    """A tenth of the steps before pruning, half after it, as in the paper's scripts; a run of any length works."""
    for steps in (1, 2, 3, 9, 10, 700):
        with quietly():
            (one,) = peft_configs(
                Maps(UNEVEN),
                layout(UNEVEN),
                [module("adalora", 4, target_rank=2)],
                (),
                task_type=None,
                steps=steps,
            )
        config = one.config
        assert (config.total_step, config.tinit, config.tfinal) == (steps, steps // 10, steps // 2)
        assert config.tinit < config.total_step - config.tfinal
        assert config.deltaT == max(1, steps // 100)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [module("hra", 2), module("shira", 1)],
            "at 'layers.0.q': hra and shira both multiply with the weight itself, so one would hide the other: "
            "allowed is one of them.",
        ),
        (
            [module("lora", 2, init="pissa"), module("oft", 4)],
            "at 'layers.0.q': lora with init pissa takes a part out of the weight, and oft does more with the weight than "
            "add to it: allowed beside it are adalora, c3a, delora, fourierft, gralora, loha, lokr, lora, miss, psoft, "
            "randlora, vblora, vera, waveft.",
        ),
        (
            [module("lora", 2, init="pissa"), module("lora", 2, init="olora")],
            "at 'layers.0.q': lora and lora both take a part out of the weight: allowed is one of them.",
        ),
    ],
)
def test_what_cannot_be_together(modules: list[Module], message: str) -> None:
    with pytest.raises(BackboneError) as raised:
        plan(UNEVEN, *modules)
    assert str(raised.value) == message
