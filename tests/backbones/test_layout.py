"""Sites by inspection: what is found where, what is refused, and what a person can name by hand."""

from typing import Any

import pytest
import torch
import transformers as t
from torch import nn

from autopeft.backbones.layout import Layout, find_layout
from autopeft.errors import BackboneError
from autopeft.nouns import SITES, Place

from .architectures import ARCHITECTURES, CROSS, DECODER, MAMBA, TEXT, Architecture, find

torch.set_num_threads(1)
SERVED = [a for a in ARCHITECTURES if a.sites]


def bare(config: Any, *, meta: bool = True) -> Any:
    """The model without a head; on the meta device, as inspection has it."""
    with torch.device("meta" if meta else "cpu"):
        return t.AutoModel.from_config(config)


def layout_of(config: Any, sites: dict[str, str] | None = None, *, meta: bool = True) -> Layout:
    model = bare(config, meta=meta)
    return find_layout(model, sum(p.numel() for p in model.parameters()), sites)


@pytest.mark.parametrize("architecture", SERVED, ids=lambda a: a.name)
def test_no_data_is_looked_at(architecture: Architecture) -> None:
    assert layout_of(architecture.config, meta=True) == layout_of(architecture.config, meta=False)


@pytest.mark.parametrize("architecture", SERVED, ids=lambda a: a.name)
def test_paths_and_places_agree_with_the_modules(architecture: Architecture) -> None:
    model = bare(architecture.config)
    layout = find_layout(model, 1)
    for where, layer in zip(layout.layers, layout.shape.layers, strict=True):
        assert list(layer.places) == [site for site in SITES if site in layer.places]
        linear = {site for site, place in layer.places.items() if place.kind == "linear"}
        assert where.sites.keys() == linear
        assert where.blocks.keys() == {s for s, place in layer.places.items() if place.kind == "block"}
        for site, path in where.sites.items():
            assert path.startswith(f"{where.path}.")
            module, place = model.get_submodule(path), layer.places[site]
            shape = (place.inputs, place.outputs) if place.transposed else (place.outputs, place.inputs)
            assert module.weight.shape == shape
            assert place.bias == (0 if module.bias is None else len(module.bias))
            assert place.transposed == (type(module).__name__ == "Conv1D")
        for block, (first, last) in where.blocks.items():
            assert {first, last} <= set(where.sites.values())
            found = {path: layer.places[site] for site, path in where.sites.items()}
            assert layer.places[block].inputs == found[first].inputs
            assert layer.places[block].outputs == found[last].outputs
        norms = [model.get_submodule(path) for path in where.norms]
        assert layer.places["norm"] == Place(
            "norm",
            inputs=sum(norm.weight.numel() for norm in norms),
            outputs=sum(norm.weight.numel() for norm in norms),
            bias=sum(norm.bias.numel() for norm in norms if getattr(norm, "bias", None) is not None),
        )
        if where.attention:
            assert hasattr(model.get_submodule(where.attention), "forward")
    if layout.shape.input is not None:
        embedding = model.get_submodule(layout.input)
        assert isinstance(embedding, nn.Embedding)
        assert layout.shape.input.inputs == embedding.embedding_dim
        # What pools at a text's last token needs its ids.
        assert layout.shape.input.outputs == (0 if hasattr(model, "score") else embedding.embedding_dim)


def test_an_encoder_and_a_decoder_are_one_list_of_layers() -> None:
    layout = layout_of(find("BART").config)
    assert [where.path for where in layout.layers] == [
        "encoder.layers.0",
        "encoder.layers.1",
        "decoder.layers.0",
        "decoder.layers.1",
    ]
    encoder, decoder = layout.shape.layers[0], layout.shape.layers[2]
    assert not any(site.startswith("cross_") for site in encoder.places)
    assert [site for site in decoder.places if site not in encoder.places] == [
        *("cross_q", "cross_k", "cross_v", "cross_o")
    ]
    assert layout.layers[2].sites["cross_o"] == "decoder.layers.0.encoder_attn.out_proj"
    assert layout.layers[2].blocks["attention"] == (
        "decoder.layers.0.self_attn.q_proj",
        "decoder.layers.0.self_attn.out_proj",
    )
    assert layout.layers[2].attention == "decoder.layers.0.self_attn"
    assert len(layout.layers[2].norms) == 3
    assert "token ids" in layout.shape.refused["input"]


@pytest.mark.parametrize(
    ("name", "first", "block"),
    [
        ("T5", "encoder.block.0.layer.1.DenseReluDense.wi", "ffn"),
        ("Flan-T5", "encoder.block.0.layer.1.DenseReluDense.wi_0", "ffn"),
        ("T5", "encoder.block.0.layer.0.SelfAttention.q", "attention"),
    ],
)
def test_the_blocks_of_t5(name: str, first: str, block: str) -> None:
    layout = layout_of(find(name).config)
    assert layout.layers[0].blocks[block][0] == first
    # The relative positions are in the first layer only and are no linear map: layers are alike.
    encoder = layout.shape.layers[:2]
    assert encoder[0] == encoder[1]


def test_two_towers_of_different_widths() -> None:
    layout = layout_of(find("CLIP").config)
    assert [where.path.partition(".")[0] for where in layout.layers] == ["text_model"] * 2 + [
        "vision_model"
    ] * 3
    assert [layer.places["q"].inputs for layer in layout.shape.layers] == [16, 16, 8, 8, 8]
    assert [layer.places["attention"].prefix_width for layer in layout.shape.layers] == [16, 16, 8, 8, 8]
    assert (layout.shape.hidden, layout.shape.intermediate) == (16, 24)
    assert layout.shape.input is None  # CLIP takes no embeddings


def test_the_widths_of_stages() -> None:
    layout = layout_of(find("Swin").config)
    assert [layer.places["ffn"].inputs for layer in layout.shape.layers] == [8, 8, 16]
    assert (layout.shape.hidden, layout.shape.heads, layout.shape.intermediate) == (16, 4, 32)


def test_grouped_queries_and_a_head_size_of_its_own() -> None:
    places = layout_of(find("Qwen3").config).shape.layers[0].places
    assert places["q"] == Place("linear", 16, 32)
    assert places["k"] == places["v"] == Place("linear", 16, 16)
    assert places["attention"] == Place("block", 16, 16, prefix_width=16)
    assert places["norm"].inputs == 2 * 16 + 2 * 8  # two of the layer, two of the heads


def test_one_fused_map() -> None:
    layout = layout_of(find("GPT-2").config)
    places = layout.shape.layers[0].places
    assert places["qkv"] == Place("linear", 16, 48, bias=48, transposed=True)
    assert places["attention"].prefix_width == 16
    assert layout.layers[0].blocks["attention"] == ("h.0.attn.c_attn", "h.0.attn.c_proj")
    grouped = layout_of(find("Phi-3").config).shape.layers[0].places
    assert grouped["qkv"].outputs == 32
    assert grouped["attention"].prefix_width == 8


def test_a_state_space() -> None:
    layout = layout_of(t.MambaConfig(**MAMBA))
    assert list(layout.shape.layers[0].places) == ["in", "x", "norm"]
    assert layout.layers[0].blocks == {}
    assert layout.layers[0].attention == ""
    assert layout.shape.heads == layout.shape.intermediate == 0
    assert layout.shape.hidden == 16
    for site in ("dt", "out"):
        assert "read the weights" in layout.shape.refused[site]


def test_a_state_space_reads_the_weights_that_are_refused() -> None:
    """The reason of the refusal: calling `dt_proj` is not how Mamba uses it, with or without kernels."""
    model = bare(t.MambaConfig(**MAMBA), meta=False)
    called = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda m, args, y, name=name: called.append(name.rpartition(".")[2]))
    model(input_ids=torch.tensor([[3, 4, 5]]))
    assert set(called) == {"in_proj", "x_proj", "out_proj"}


def test_layers_of_two_kinds() -> None:
    layout = layout_of(find("Jamba").config)
    mixer, attention = layout.shape.layers
    assert [s for s in mixer.places if s in ("in", "x", "q", "attention")] == ["in", "x"]
    assert [s for s in attention.places if s in ("in", "x", "q", "attention")] == ["q", "attention"]
    assert layout.shape.sites == ("q", "k", "v", "o", "gate", "up", "down", "in", "x")


def test_a_shared_layer_is_one_layer() -> None:
    layout = layout_of(find("ALBERT").config)
    assert [where.path for where in layout.layers] == ["encoder.albert_layer_groups.0.albert_layers.0"]
    config = t.AlbertConfig(**TEXT, embedding_size=8)
    assert layout_of(config).shape.input == Place("input", 8, 8)


def test_experts_are_not_offered() -> None:
    """One of several maps of a name in a layer: which one is meant is unknown."""
    model = bare(t.BertConfig(**TEXT))
    experts = [
        nn.ModuleList([nn.ModuleDict({"up_proj": nn.Linear(16, 24)}) for _ in range(2)]) for _ in range(2)
    ]
    model.encoder.layer[1].experts = experts[1]
    layout = find_layout(model, 1)
    assert "up" in layout.shape.layers[0].places
    assert "up" not in layout.shape.layers[1].places
    assert "ffn" not in layout.shape.layers[1].places
    assert layout.shape.refused == {}  # the first layer has it
    model.encoder.layer[0].experts = experts[0]
    with_both = find_layout(model, 1)
    assert "several times" in with_both.shape.refused["up"]
    assert "up" not in with_both.shape.sites


def test_experts_in_one_tensor() -> None:
    shape = layout_of(find("Mixtral").config).shape
    assert shape.sites == ("q", "k", "v", "o")
    assert list(shape.refused) == ["up", "down"]
    assert "one tensor of three dimensions" in shape.refused["down"]


def test_a_map_that_two_layers_share_is_the_first_ones() -> None:
    model = bare(t.BertConfig(**TEXT))
    model.encoder.layer[1].intermediate = model.encoder.layer[0].intermediate
    layout = find_layout(model, 1)
    assert ["up" in layer.places for layer in layout.shape.layers] == [True, False]


def test_layers_in_a_sequential() -> None:
    """As timm's vision transformers have them."""
    model = bare(t.BertConfig(**TEXT))
    before = find_layout(model, 1)
    model.encoder.layer = nn.Sequential(*model.encoder.layer)
    assert find_layout(model, 1) == before


def test_torchs_own_attention_is_refused() -> None:
    model = bare(t.BertConfig(**TEXT))
    for layer in model.encoder.layer:
        layer.attention = nn.MultiheadAttention(16, 4, device="meta")
    layout = find_layout(model, 1)
    assert layout.shape.sites == ("up", "down")
    assert "MultiheadAttention reads the weights of out_proj" in layout.shape.refused["o"]


def test_what_is_no_site_is_listed() -> None:
    model = bare(t.LlamaConfig(**DECODER))
    for layer in model.layers:
        layer.extra = nn.Linear(16, 4, device="meta")
    assert find_layout(model, 1).unnamed == ("extra",)


# By hand


def test_a_site_named_by_hand() -> None:
    config = t.XLNetConfig(d_model=16, n_layer=2, n_head=4, d_inner=24, vocab_size=40)
    layout = layout_of(config, {"up": "ff.layer_1", "down": "layer_2"})
    assert layout.shape.sites == ("up", "down")
    assert layout.layers[1].blocks == {"ffn": ("layer.1.ff.layer_1", "layer.1.ff.layer_2")}
    assert layout.shape.layers[0].places["up"] == Place("linear", 16, 24, bias=24)


def test_layers_in_stages_named_by_hand() -> None:
    layout = layout_of(find("ConvNeXt").config, {"up": "pwconv1", "down": "pwconv2"})
    assert [where.path for where in layout.layers] == [
        *("encoder.stages.0.layers.0", "encoder.stages.0.layers.1"),
        *("encoder.stages.1.layers.0", "encoder.stages.1.layers.1"),
    ]
    assert [layer.places["ffn"].inputs for layer in layout.shape.layers] == [8, 8, 16, 16]


def test_by_hand_goes_before_what_is_found() -> None:
    layout = layout_of(t.LlamaConfig(**DECODER), {"gate": "up_proj", "up": "gate_proj"})
    assert layout.layers[0].sites["gate"] == "layers.0.mlp.up_proj"
    assert layout.layers[0].sites["up"] == "layers.0.mlp.gate_proj"
    only_q = layout_of(t.LlamaConfig(**DECODER), {"q": "self_attn.k_proj"})
    assert only_q.layers[0].sites["q"] == "layers.0.self_attn.k_proj"
    assert "k" not in only_q.shape.sites
    assert "self_attn.q_proj" in only_q.unnamed


def test_what_is_refused_stays_refused_by_hand() -> None:
    layout = layout_of(t.MambaConfig(**MAMBA), {"o": "mixer.out_proj"})
    assert layout.shape.sites == ("in", "x")
    assert "read the weights of out_proj" in layout.shape.refused["o"]


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (
            {"q": "attn.q_prj"},
            "the site 'q' was not found: no linear map in the layers of a LlamaModel has a path that ends in "
            "'attn.q_prj'; layers.0 holds self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, "
            "mlp.gate_proj, mlp.up_proj, mlp.down_proj. Did you mean 'q=self_attn.q_proj'?",
        ),
        (
            {"q": "proj"},
            "the site 'q' was not found: no linear map in the layers of a LlamaModel has a path that ends in "
            "'proj'; layers.0 holds self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, "
            "mlp.gate_proj, mlp.up_proj, mlp.down_proj.",
        ),
        (
            {"ffn": "mlp"},
            "cannot name 'ffn' by hand: the sites that are linear maps are qkv, q, k, v, o, cross_q, cross_k, "
            "cross_v, cross_o, gate, up, down, in, x, dt, out.",
        ),
        (
            {"upp": "mlp.up_proj"},
            "cannot name 'upp' by hand: the sites that are linear maps are qkv, q, k, v, o, cross_q, cross_k, "
            "cross_v, cross_o, gate, up, down, in, x, dt, out. Did you mean 'up'?",
        ),
        ({"q": "."}, "the site 'q' is named by an empty path: write q=PATH."),
    ],
)
def test_what_cannot_be_named(sites: dict[str, str], message: str) -> None:
    with pytest.raises(BackboneError) as raised:
        layout_of(t.LlamaConfig(**DECODER), sites)
    assert str(raised.value) == message


def test_a_path_that_names_several() -> None:
    with pytest.raises(BackboneError) as raised:
        layout_of(find("BART").config, {"q": "q_proj"})
    assert str(raised.value) == (
        "'q=q_proj' names 2 linear maps in a layer of a BartModel, self_attn.q_proj, encoder_attn.q_proj: "
        "write more of the path."
    )
    layout = layout_of(find("BART").config, {"q": "self_attn.q_proj"})
    assert " ".join(layout.shape.sites) == CROSS


def test_nothing_known() -> None:
    config = t.XLNetConfig(d_model=16, n_layer=2, n_head=4, d_inner=24, vocab_size=40)
    with pytest.raises(BackboneError) as raised:
        layout_of(config)
    assert str(raised.value) == (
        "no site was found in the layers of a XLNetModel: the blocks in layer hold the linear maps ff.layer_1, "
        "ff.layer_2; name them by hand, such as --sites up=ff.layer_1."
    )
    with pytest.raises(BackboneError) as raised:
        layout_of(config, {"up": "ff.lyer_1"})
    assert str(raised.value) == (
        "the site 'up' was not found: no linear map in the layers of a XLNetModel has a path that ends in "
        "'ff.lyer_1'; layer holds ff.layer_1, ff.layer_2. Did you mean 'up=ff.layer_1'?"
    )
