"""Modules that are on a model together, and what happens when they cannot be."""

import gc
import itertools
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn

from autopeft.adapters import Attached, attach, load_adapter, save_adapter
from autopeft.adapters.attach import head_roots, quietly
from autopeft.adapters.prompts import check_prompt
from autopeft.dsl.cost import adapter_bytes, trainable_parameters
from autopeft.dsl.peft_types import PEFT_TYPES, clash
from autopeft.dsl.types import options_of
from autopeft.errors import BackboneError, TrialError
from autopeft.nouns import Configuration, Module

from .table import (
    FAMILIES,
    bare,
    batch_of,
    close,
    everything,
    layout_of,
    logits_of,
    put_on,
    same,
    saved_bytes,
    train,
    with_peft,
)

torch.set_num_threads(1)
LINEARS = {family: one.linears for family, one in FAMILIES.items()}
SIZES: dict[str, tuple[float, dict[str, Any]]] = {
    "lora": (2, {}),
    "adalora": (3, {"target_rank": 1}),
    "ia3": (1, {}),
    "loha": (2, {}),
    "lokr": (2, {}),
    "oft": (4, {}),
    "boft": (4, {}),
    "hra": (2, {}),
    "vera": (3, {}),
    "vblora": (2, {"num_vectors": 5, "vector_length": 8}),
    "randlora": (3, {}),
    "fourierft": (7, {"init": "zeros"}),
    "waveft": (7, {}),
    "miss": (4, {}),
    "c3a": (4, {"init": "zeros"}),
    "delora": (2, {}),
    "gralora": (4, {}),
    "hira": (2, {}),
    "psoft": (3, {}),
    "shira": (2, {}),
    "supertuning": (0.1, {}),
    "ln_tuning": (1, {}),
    "prompt_tuning": (3, {}),
    "prefix_tuning": (3, {}),
    "bottleneck": (6, {"position": "serial"}),
    "prefix": (3, {}),
    "sparse": (0.1, {}),
    "bias": (1, {}),
}
SITES = {
    "ln_tuning": ("norm",),
    "prompt_tuning": ("input",),
    "prefix_tuning": ("input",),
    "bottleneck": ("ffn",),
    "prefix": ("attention",),
}


def module(name: str, family: str = "BERT", layers: tuple[int, ...] = (0, 1), **options: Any) -> Module:
    size, given = SIZES[name]
    sites = SITES.get(name, LINEARS[family])
    every = {**given, **options, "sites": sites}
    return Module(name, size, (0,) if sites == ("input",) else layers, tuple(sorted(every.items())))


def through_everything(family: str, modules: Sequence[Module], folder: Path, adapters: int) -> None:
    """Identity, exact count, gradients, saving all and each alone, loading both ways, coming off."""
    model = bare(family)
    before, start, shape = everything(model), logits_of(model, family), layout_of(model).shape
    attached, configuration = put_on(model, family, modules)
    assert not hasattr(model, "peft_config")
    promised = not {m.type for m in modules} & {"vblora", "prompt_tuning", "prefix_tuning"}
    assert close(logits_of(attached.runner, family), start) == promised
    parameters = attached.module_parameters()
    assert len({id(p) for p in parameters}) == len(parameters)
    assert sum(p.numel() for p in parameters) == trainable_parameters(configuration, shape)
    save_adapter(attached, configuration, folder / "start", task_type="SEQ_CLS", record={})
    assert saved_bytes(folder / "start", FAMILIES[family].head) == adapter_bytes(configuration, shape)
    assert not train(attached, family)
    change_head(attached)
    trained = logits_of(attached.runner, family)
    assert not close(trained, start)
    save_adapter(attached, configuration, folder / "all", task_type="SEQ_CLS", record={})
    assert len(attached.planned) == adapters
    alone = []
    for adapter in attached.stack.adapters:
        runner = attached.runner if not adapter.layers else model
        with attached.stack.alone(adapter):
            own = list(attached.own.values())
            attached.own.clear()  # their hooks are on layers that are out of the way, or stay as they are
            alone.append(logits_of(runner, family))
            attached.own.update({str(i): one for i, one in enumerate(own)})
    assert torch.equal(logits_of(attached.runner, family), trained)
    attached.detach()
    assert same(everything(model), before)

    loaded = load_adapter(bare(family), folder / "all")  # type: ignore[arg-type]
    assert close(logits_of(loaded, family), trained)
    if adapters > 1 and not any(m.type not in PEFT_TYPES for m in modules):
        folders = sorted((folder / "all").glob("peft-*"))
        assert len(folders) == adapters
        for one, expected in zip(folders, alone, strict=True):
            theirs = with_peft(family, one)
            assert close(logits_of(theirs, family), expected), one.name


PAIRS = [
    *[
        ("lora", other)
        for other in ("ia3", "oft", "hra", "adalora", "shira", "vblora", "ln_tuning", "prompt_tuning")
    ],
    ("ia3", "boft"),
    ("oft", "supertuning"),
    ("hira", "vera"),
    ("delora", "miss"),
    ("ln_tuning", "prefix_tuning"),
]


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_two_types_at_the_same_places(names: tuple[str, str], tmp_path: Path) -> None:
    through_everything("BERT", [module(name) for name in names], tmp_path, adapters=2)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(list(itertools.combinations(PEFT_TYPES, 2)))))
def test_any_two_types_at_the_same_places(number: int, tmp_path: Path) -> None:
    """All that have no reason not to, each on one of three families: the reason is known before."""
    names = list(itertools.combinations(PEFT_TYPES, 2))[number]
    family = ("BERT", "Llama", "GPT-2")[number % 3]
    both = [module(name, family) for name in names]
    model = bare(family)
    shape = layout_of(model).shape
    objections = [
        PEFT_TYPES[m.type].objection(m.size, options_of(m), place)
        for m in both
        for site in m.sites
        if (place := shape.place(0, site)) is not None
    ]
    decoder = "prompt_tuning" in names and family != "BERT"
    if (
        any(objections)
        or decoder
        or set(names) == {"prompt_tuning", "prefix_tuning"}
        or clash(both[0].type, options_of(both[0]), both[1].type, options_of(both[1]))
    ):
        with pytest.raises(BackboneError):
            put_on(model, family, both)
        return
    through_everything(family, both, tmp_path, adapters=2)


@pytest.mark.parametrize(
    ("family", "names", "adapters"),
    [
        ("BERT", ("lora", "ia3", "oft"), 3),
        ("Llama", ("lora", "hra", "ln_tuning"), 3),
        ("GPT-2", ("lora", "ia3", "vera"), 3),
        ("BERT", ("prefix", "bottleneck"), 0),
        ("BERT", ("lora", "bottleneck", "sparse"), 1),
        ("BERT", ("prompt_tuning", "lora", "prefix"), 2),
        ("GPT-2", ("prefix_tuning", "bias", "lora"), 2),
    ],
    ids=str,
)
def test_three_kinds_together(family: str, names: tuple[str, ...], adapters: int, tmp_path: Path) -> None:
    through_everything(family, [module(name, family) for name in names], tmp_path, adapters)


@pytest.mark.parametrize("init", ["pissa", "olora", "corda"])
def test_what_is_taken_out_of_the_weights_is_put_back(init: str, tmp_path: Path) -> None:
    """Beside types that add to the weight, at the same maps: also each alone, on the weights as they were."""
    modules = [module("lora", init=init), module("lokr"), module("psoft"), module("delora")]
    through_everything("BERT", modules, tmp_path, adapters=4)


def test_other_adapters_see_the_weights_as_they_were() -> None:
    """PSOFT's singular vectors and EVA's inputs, beside a LoRA that takes part of the weights away."""
    fresh, _ = put_on(bare("BERT"), "BERT", [module("psoft")])
    beside, _ = put_on(bare("BERT"), "BERT", [module("lora", init="pissa"), module("psoft")])
    one, other = (
        next(layer for layer in attached.stack.adapters[-1].layers.values()) for attached in (fresh, beside)
    )
    assert torch.equal(one._psoft_A_cache["default"], other._psoft_A_cache["default"])  # type: ignore[index]

    kinds = [module("lora", init="eva", rslora=True, layers=(1,)), module("lora", init="pissa", layers=(0,))]
    alone, _ = put_on(bare("BERT"), "BERT", kinds[:1])
    together, _ = put_on(bare("BERT"), "BERT", kinds)
    eva = next(a for a in together.stack.adapters if not a.residuals)
    for path, layer in alone.stack.adapters[0].layers.items():
        theirs = eva.layers[path].lora_A["default"].weight  # type: ignore[index]
        assert torch.equal(layer.lora_A["default"].weight, theirs)  # type: ignore[index]


def test_the_later_one_is_inside_and_what_multiplies_with_the_weight_innermost() -> None:
    model = bare("BERT")
    put_on(model, "BERT", [module("hra"), module("ia3"), module("lora")])
    layer: Any = model.get_submodule(layout_of(bare("BERT")).layers[0].sites["q"])
    kinds = []
    while hasattr(layer, "base_layer"):
        kinds.append(type(layer).__module__.split(".")[2])
        layer = layer.base_layer
    assert kinds == ["ia3", "lora", "hra"]
    assert type(layer) is nn.Linear


def test_ranks_that_differ_from_place_to_place(tmp_path: Path) -> None:
    """One LoRA of peft with patterns, whose scale hangs on them; PiSSA's conversion with rsLoRA too."""
    for options in ({}, {"init": "pissa", "rslora": True}):
        modules = [
            Module(
                "lora", rank, (layer,), tuple(sorted({"sites": (site,), "alpha": alpha, **options}.items()))
            )
            for rank, layer, site, alpha in ((2, 0, "q", 4.0), (3, 0, "v", 3.0), (5, 1, "down", 4.0))
        ]
        through_everything("BERT", modules, tmp_path / str(len(options)), adapters=1)


def test_a_head_is_trained_once(tmp_path: Path) -> None:
    model = bare("BERT")
    attached, configuration = put_on(model, "BERT", [module("lora"), module("ia3")])
    head = {id(p) for p in attached.trainable()} - {id(p) for p in attached.module_parameters()}
    assert len(head) == 2
    change_head(attached)
    expected = attached.head_state()["classifier.weight"]
    save_adapter(attached, configuration, tmp_path, task_type="SEQ_CLS", record={})
    for file in tmp_path.rglob("adapter_model.safetensors"):
        assert torch.equal(load_file(file)["base_model.model.classifier.weight"], expected)


def change_head(attached: Attached) -> None:
    """As training would, at least as far as saving and loading can tell."""
    with torch.no_grad():
        for tensor in attached.head_state().values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(7)))


def test_what_was_on_the_model_before_stays() -> None:
    model = bare("BERT").requires_grad_(True)
    seen: list[str] = []
    model.get_submodule("bert.encoder.layer.0.output.dense").register_forward_hook(
        lambda *args: seen.append("hook")
    )
    attached, _ = put_on(model, "BERT", [module("lora", init="corda"), module("prefix")])
    attached.detach()
    seen.clear()
    logits_of(model, "BERT")
    assert seen == ["hook"]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_boft_never_reaches_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a kernel would have been compiled")

    monkeypatch.setattr("torch.utils.cpp_extension.load", load)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put_on(bare("BERT"), "BERT", [module("boft")])


def adalora_ranks(attached: Attached) -> int:
    (adapter,) = [
        a for a in attached.stack.adapters if isinstance(a.wrapper.peft_config["default"], AdaLoraConfig)
    ]
    return sum(int((layer.lora_E["default"] != 0).sum()) for layer in adapter.layers.values())  # type: ignore[index]


@pytest.mark.parametrize("beside", [[], ["lora"], ["ia3"]])
def test_adalora_prunes_to_its_budget(beside: list[str]) -> None:
    """Whatever stands beside it: a LoRA has parameters of the same names."""
    attached, _ = put_on(bare("BERT"), "BERT", [module("adalora"), *map(module, beside)], steps=10)
    train(attached, "BERT", steps=2)
    assert 4 < adalora_ranks(attached) < 12
    train(attached, "BERT", steps=10)
    assert adalora_ranks(attached) == 4 * 1
    loras = [
        p
        for a in attached.stack.adapters
        for n, p in a.wrapper.named_parameters()
        if "lora_B" in n and p.grad
    ]
    assert all(bool((p != 0).any()) for p in loras)


def test_the_penalty_is_peft_s_own() -> None:
    """Which it adds only where the model has the labels."""
    model = bare("BERT")
    attached, _ = put_on(model, "BERT", [module("adalora", orth_reg_weight=0.3)])
    (adapter,) = attached.stack.adapters
    batch, labels = batch_of("BERT"), torch.tensor([0, 1, 2])
    with_it = adapter.wrapper(**batch, labels=labels).loss
    without = nn.functional.cross_entropy(model(**batch).logits, labels)
    penalty = attached.penalty()
    assert penalty is not None
    torch.testing.assert_close(without + penalty, with_it)
    assert put_on(bare("BERT"), "BERT", [module("lora")])[0].penalty() is None


def test_initialisations_from_data_say_what_they_lack() -> None:
    model = bare("BERT")
    before = everything(model)
    for init in ("eva", "corda"):
        configuration = Configuration.of([module("delora"), module("lora", init=init)], 1e-2)
        with pytest.raises(TrialError) as raised:
            attach(model, layout_of(model), ("classifier",), configuration)  # type: ignore[arg-type]
        assert str(raised.value) == f"init {init} looks at training data, and there are none here."
    few = {name: tensor[:1, :1] for name, tensor in batch_of("BERT").items()}
    configuration = Configuration.of([module("lora", init="eva")], 1e-2)
    with pytest.raises(TrialError) as raised:
        attach(model, layout_of(model), ("classifier",), configuration, batches=lambda: [few])  # type: ignore[arg-type]
    assert str(raised.value) == (
        "init eva failed on the training data: init eva needs a batch of 2 tokens or images, and no batch is that large."
    )
    broken = batch_of("BERT")
    with torch.no_grad():
        model.get_input_embeddings().weight[3:] = torch.nan  # type: ignore[operator]
    before = everything(model)
    configuration = Configuration.of([module("lora", init="corda")], 1e-2)
    with pytest.raises(
        TrialError, match="init corda failed on the training data: Invalid value found in input"
    ):
        attach(model, layout_of(model), ("classifier",), configuration, batches=lambda: [broken])  # type: ignore[arg-type]
    after = everything(model)
    assert {n: v for n, v in after.items() if not isinstance(v, torch.Tensor)} == {
        n: v for n, v in before.items() if not isinstance(v, torch.Tensor)
    }


@pytest.mark.parametrize("first", ["lora", "prefix", "prompt_tuning"])
@pytest.mark.parametrize("broken", ["bottleneck", "oft"])
def test_a_model_is_never_left_with_half_a_configuration(first: str, broken: str) -> None:
    model = bare("BERT")
    before = everything(model)
    with pytest.raises(IndexError):  # there is no layer 7
        put_on(model, "BERT", [module(first), module(broken, layers=(0, 7))])
    assert same(everything(model), before)


def test_an_error_inside_peft_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.oft import layer as oft

    model = bare("BERT")
    before = everything(model)
    made = []

    def fail(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        if len(made) == 2:
            raise RuntimeError("no memory")

    monkeypatch.setattr(oft.OFTLayer, "reset_oft_parameters", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        put_on(model, "BERT", [module("lora", init="pissa", layers=(0,)), module("oft", layers=(1,))])
    assert len(made) == 2
    assert same(everything(model), before)


def test_layers_are_let_go() -> None:
    """peft keeps every layer of SHiRA and Super-Tuning in a cache, which a warm worker would fill."""
    for name in ("shira", "supertuning", "lora"):
        model = bare("BERT")
        attached, _ = put_on(model, "BERT", [module(name)])
        logits_of(attached.runner, "BERT")
        layer = weakref.ref(next(iter(attached.stack.adapters[0].layers.values())))
        attached.detach()
        del attached
        gc.collect()
        assert layer() is None, name


def refusal(family: str, *modules: Module) -> str:
    model = bare(family)
    before = everything(model)
    with pytest.raises(BackboneError) as raised:
        put_on(model, family, modules)
    assert same(everything(model), before)
    return str(raised.value)


def test_where_tokens_cannot_go_before_the_input() -> None:
    instead = "use `prefix`, or modules at linear sites."
    assert refusal("BERT", module("prompt_tuning"), module("prefix_tuning")) == (
        "two modules put tokens before the input, and peft can wrap a model for one only: take one of them."
    )
    for family in ("Llama", "GPT-2"):
        assert refusal(family, module("prompt_tuning")) == (
            "prompt_tuning cannot be at input of layer 0: the model finds the end of a text by its ids, which a prompt "
            "takes the place of; allowed are prefix_tuning, prefix, and modules at linear sites."
        )
    assert refusal("DistilBERT", module("prefix_tuning", "DistilBERT")) == (
        "peft's prefix_tuning does not work on a DistilBertForSequenceClassification (Model does not support past key "
        f"values which are required for prefix tuning): {instead}"
    )


def test_a_prompt_that_takes_padding_for_text_is_found_out() -> None:
    """For a decoder that is not known as one by its classifier's name."""
    model = bare("Llama")
    with quietly():
        wrapper = get_peft_model(model, PromptTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"))
    with pytest.raises(
        BackboneError, match="a LlamaForSequenceClassification takes the padding behind a text"
    ):
        check_prompt(wrapper, model)


def test_the_frozen_backbone_with_its_head() -> None:
    model = bare("BERT")
    before, start = everything(model), logits_of(model, "BERT")
    attached, _ = put_on(model, "BERT", [])
    assert attached.module_parameters() == []
    assert [p.shape for p in attached.trainable()] == [(3, 16), (3,)]
    with torch.no_grad():
        for parameter in attached.trainable():
            parameter.zero_()
    assert not logits_of(model, "BERT").any()
    attached.detach()
    assert same(everything(model), before)
    assert torch.equal(logits_of(model, "BERT"), start)


def test_head_roots() -> None:
    paths = ["classifier.dense", "classifier.out_proj", "bert.pooler.dense"]
    assert head_roots(paths, "bert") == ("bert.pooler.dense", "classifier")
