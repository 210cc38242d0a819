"""Our modules at the places of real architectures: the identity at first, of the promised cost, trained, taken off."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers as t
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from autopeft.adapters import attach
from autopeft.adapters.own import attach_own, own_name
from autopeft.backbones.layout import Layout, find_layout
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.nouns import Configuration, Module

torch.set_num_threads(1)

TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "num_labels": 3,
}
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": 40,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "num_labels": 3,
}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24, "n_positions": 32, "vocab_size": 40}
MODELS: dict[str, Callable[[], t.PreTrainedModel]] = {
    "BERT": lambda: t.BertForSequenceClassification(t.BertConfig(**TEXT)),
    "DeBERTa": lambda: t.DebertaV2ForSequenceClassification(
        t.DebertaV2Config(
            **TEXT,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=5,
            share_att_key=True,
        )
    ),
    "GPT-2": lambda: t.GPT2ForSequenceClassification(t.GPT2Config(**GPT, pad_token_id=0, num_labels=3)),
    "Llama": lambda: t.LlamaForSequenceClassification(t.LlamaConfig(**TEXT, num_key_value_heads=2)),
    "ViT": lambda: t.ViTForImageClassification(
        t.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=24,
            image_size=8,
            patch_size=4,
            num_labels=3,
        )
    ),
    "T5": lambda: t.T5ForSequenceClassification(
        t.T5Config(**SEQ2SEQ, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    ),
    "BART": lambda: t.BartForSequenceClassification(
        t.BartConfig(
            **SEQ2SEQ,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            max_position_embeddings=32,
        )
    ),
    "Mamba": lambda: t.MambaForCausalLM(
        t.MambaConfig(hidden_size=16, num_hidden_layers=2, state_size=4, vocab_size=40, pad_token_id=0)
    ),
    "Whisper": lambda: t.WhisperForConditionalGeneration(
        t.WhisperConfig(
            d_model=16,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            num_mel_bins=8,
            max_source_positions=10,
            max_target_positions=16,
            vocab_size=40,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    ),
    "CLIP": lambda: t.CLIPForImageClassification(
        t.CLIPConfig(
            vision_config={
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 24,
                "image_size": 8,
                "patch_size": 4,
            },
            num_labels=3,
        )
    ),
}


def build(name: str) -> tuple[t.PreTrainedModel, Layout]:
    torch.manual_seed(0)
    model = MODELS[name]().eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)  # biases and norms too, which begin as zeros and ones
    return model, find_layout(model, sum(p.numel() for p in model.parameters()))


def inputs(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name in ("ViT", "CLIP"):
        return {"pixel_values": torch.randn(3, 3, 8, 8, generator=generator)}
    ids = torch.randint(3, 40, (3, 10), generator=generator)
    if name == "Whisper":
        return {"input_features": torch.randn(3, 8, 20, generator=generator), "decoder_input_ids": ids}
    if name in ("T5", "BART"):
        ids[:, -1] = 1  # the end of each text, of which these models know one per text
        return {"input_ids": ids}
    mask = torch.ones_like(ids)
    ids[1, 6:] = mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**batch).logits
    return found


def everywhere(kind: str, layout: Layout, size: float, **options: Any) -> Iterator[tuple[Module, int, str]]:
    """A module of the type, and each place of the backbone where it can be."""
    of = OWN_TYPES[kind]
    fields = {name: field.default for name, field in of.fields.items()} | options
    sites = {
        "linear": layout.shape.sites,
        "bias": (*layout.shape.sites, "norm"),
        "block": ("attention", "ffn"),
    }
    module = Module(
        kind,
        size,
        tuple(range(len(layout.layers))),
        (*fields.items(), ("sites", sites.get(of.at, ("attention",)))),
    )
    (module,) = Configuration.of([module], 1e-3).modules
    for layer in module.layers:
        for site in module.sites:
            place = layout.shape.place(layer, site)
            if place is not None and not of.objection(size, fields, place):
                yield module, layer, site


def state(model: t.PreTrainedModel) -> list[object]:
    """Everything that modules could leave behind."""
    modules = [
        (name, type(m), sorted(m.__dict__), list(m._forward_hooks), list(m._forward_pre_hooks))
        for name, m in model.named_modules()
    ]
    weights = [(name, p.requires_grad, p.tolist()) for name, p in model.named_parameters()]
    configs = {m.config._attn_implementation for m in model.modules() if hasattr(m, "config")}
    return [modules, weights, configs]


KINDS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "serial": ("bottleneck", 3, {"position": "serial", "activation": "gelu"}),
    "parallel": ("bottleneck", 3, {"position": "parallel", "activation": "silu", "scaling": 4}),
    "prefix": ("prefix", 3, {}),
    "sparse": ("sparse", 0.05, {"mask": "random"}),
    "bias": ("bias", 1, {}),
}

# No blocks; an attention of its own; no biases (that a module can reach).
NOWHERE = {("Mamba", "serial"), ("Mamba", "parallel"), ("Mamba", "prefix"), ("DeBERTa", "prefix")}
NOWHERE |= {(name, "bias") for name in ("Llama", "T5", "Mamba")}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_on_trained_and_off_again(name: str, kind: str) -> None:
    model, layout = build(name)
    batch = inputs(name)
    before, was = logits(model, batch), state(model)
    of, size, options = KINDS[kind]
    put: list[tuple[nn.Module, Callable[[], None]]] = []
    for module, layer, site in everywhere(of, layout, size, **options):
        put.append(attach_own(model, layout, module, layer, site))
        count = sum(p.numel() for p in put[-1][0].parameters())
        place = layout.shape.place(layer, site)
        assert place is not None
        assert count == OWN_TYPES[of].trainable(size, dict(module.options), place)
        stored = sum(b.numel() for b in put[-1][0].buffers())
        assert stored == OWN_TYPES[of].stored(size, dict(module.options), place)
    if not put:
        assert (name, kind) in NOWHERE
        return
    assert torch.equal(logits(model, batch), before)

    parameters = [p for module, _ in put for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    for _ in range(
        2
    ):  # what multiplies something that starts at zero has its first gradient in the second step
        optimizer.zero_grad()
        found = model(**batch).logits
        functional.cross_entropy(found.reshape(3, -1), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
    moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters]
    assert sum(moved) >= 0.8 * len(moved)  # a bias of the keys, say, changes no attention
    assert (logits(model, batch) - before).abs().max() > 1e-4

    for _, off in reversed(put):
        off()
    assert state(model) == was
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama", "T5", "ViT"])
@pytest.mark.parametrize("site", ["attention", "ffn"])
@pytest.mark.parametrize("position", ["serial", "parallel"])
def test_a_bottleneck_stands_after_or_beside_the_whole_block(name: str, site: str, position: str) -> None:
    """Against the block's own first input and last output, seen from outside."""
    model, layout = build(name)
    if (name, site) == ("Llama", "ffn"):
        assert layout.layers[1].blocks["ffn"][0].endswith("gate_proj")
    first, last = (model.get_submodule(path) for path in layout.layers[1].blocks[site])
    batch, seen = inputs(name), dict[str, torch.Tensor]()
    hooks = [
        first.register_forward_pre_hook(lambda m, args: seen.setdefault("x", args[0])),
        last.register_forward_hook(lambda m, args, y: seen.setdefault("y", y)),
    ]
    logits(model, batch)
    hooks[0].remove()
    hooks[1].remove()
    x, y = seen["x"], seen["y"]
    module = Module("bottleneck", 3, (1,), (("position", position), ("scaling", 2), ("sites", (site,))))
    bottleneck, _ = attach_own(model, layout, module, 1, site)
    for parameter in bottleneck.parameters():
        nn.init.normal_(parameter)
    after: list[torch.Tensor] = []
    last.register_forward_hook(lambda m, args, y: after.append(y))
    logits(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(after[0], y + bottleneck(y if position == "serial" else x))


def test_a_parallel_one_in_deberta_reads_the_tokens_and_not_the_positions() -> None:
    """Also where both have the same shape: one text of as many tokens as there are relative positions."""
    model, layout = build("DeBERTa")
    positions = model.deberta.encoder.rel_embeddings.num_embeddings
    batch = {"input_ids": torch.randint(3, 40, (1, positions))}
    query, last = (model.get_submodule(path) for path in layout.layers[0].blocks["attention"])
    seen: list[torch.Tensor] = []
    handle = query.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    found: list[torch.Tensor] = []
    last.register_forward_hook(lambda m, args, y: found.append(y))
    logits(model, batch)
    handle.remove()
    assert [x.shape for x in seen] == [(1, positions, 16)] * 2
    module = Module("bottleneck", 3, (0,), (("position", "parallel"), ("sites", ("attention",))))
    bottleneck, _ = attach_own(model, layout, module, 0, "attention")
    for parameter in bottleneck.parameters():
        nn.init.normal_(parameter)
    last.register_forward_hook(lambda m, args, y: found.append(y))
    logits(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(found[-1], found[0] + bottleneck(seen[0]))


@pytest.mark.parametrize("name", ["BERT", "Llama", "ViT", "BART", "CLIP", "Whisper"])
def test_a_prefix_is_the_same_in_eager_and_sdpa(name: str) -> None:
    batch, found = inputs(name), []
    for implementation in ("eager", "sdpa"):
        model, layout = build(name)
        model.set_attn_implementation(implementation)
        before = logits(model, batch)
        for number, (module, layer, site) in enumerate(everywhere("prefix", layout, 3)):
            prefix, _ = attach_own(model, layout, module, layer, site)
            torch.manual_seed(number)
            for parameter in prefix.parameters():
                nn.init.normal_(parameter)
            config = model.get_submodule(layout.layers[layer].attention).config
            assert config._attn_implementation == f"prefixed_{implementation}"
        found.append(logits(model, batch))
        assert (found[-1] - before).abs().max() > 1e-3
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_a_prefix_acts_in_its_layer_only() -> None:
    """By hand for the first layer: the values' sum goes through the output projection."""
    model, layout = build("BERT")
    attention = model.get_submodule(layout.layers[0].attention)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    attention.register_forward_hook(lambda module, args, out: seen.append((args[0], out[0])))
    batch = inputs("BERT")
    logits(model, batch)
    prefix, _ = attach_own(
        model, layout, Module("prefix", 3, (0,), (("sites", ("attention",)),)), 0, "attention"
    )
    for parameter in prefix.parameters():
        nn.init.normal_(parameter)
    logits(model, batch)
    (x, without), (same, with_prefix) = seen
    assert torch.equal(x, same)
    with torch.no_grad():
        query = attention.query(x).view(3, 10, 4, 4).transpose(1, 2)
        expected = without + prefix(query, 4, 0.5).reshape(3, 10, 16)
    torch.testing.assert_close(with_prefix, expected, atol=1e-5, rtol=1e-5)
    assert not hasattr(model.get_submodule(layout.layers[1].attention), "prefix_of_autopeft")


def test_bitfit_is_training_every_bias() -> None:
    """All biases of a layer: the deltas, added to the pre-trained biases, are the model that was trained."""
    model, layout = build("BERT")
    batch = inputs("BERT")
    put = [attach_own(model, layout, *where) for where in everywhere("bias", layout, 1)]
    biases = [p for name, p in model.named_parameters() if "encoder" in name and name.endswith(".bias")]
    deltas = [p for module, _ in put for p in module.parameters()]
    assert sorted(p.numel() for p in deltas) == sorted(p.numel() for p in biases)
    for number, delta in enumerate(deltas):
        torch.manual_seed(number)
        nn.init.normal_(delta)
    found = logits(model, batch)
    with torch.no_grad():
        for (module, off), (_, layer, site) in zip(put, everywhere("bias", layout, 1), strict=True):
            off()
            where = layout.layers[layer]
            paths = where.norms if site == "norm" else [where.sites[site]]
            for path, delta in zip(paths, module.parameters(), strict=True):
                model.get_submodule(path).bias += delta
    torch.testing.assert_close(found, logits(model, batch), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_ours_and_peft_s_at_one_map_add_up() -> None:
    """LoRA, sparse delta and bias on the query, and a bottleneck that reads it: as the merged weights say."""
    model, layout = build("BERT")
    path, batch = layout.layers[1].sites["q"], inputs("BERT")
    at = ("sites", ("q",))
    modules = [
        Module("lora", 2, (1,), (("alpha", 6), at)),
        Module("sparse", 0.1, (1,), (("mask", "random"), at)),
        Module("bias", 1, (1,), (at,)),
        Module("bottleneck", 3, (1,), (("position", "parallel"), ("sites", ("attention",)))),
    ]
    before = logits(model, batch)
    attached = attach(model, layout, ("classifier",), Configuration.of(modules, 1e-2))
    assert torch.equal(logits(model, batch), before)
    torch.manual_seed(4)
    for parameter in attached.module_parameters():
        nn.init.normal_(parameter)
    found = logits(model, batch)
    own = {name.split("_")[2]: module for name, module in attached.own.items()}
    lora = model.get_submodule(path)
    with torch.no_grad():
        change = 3 * lora.lora_B["default"].weight @ lora.lora_A["default"].weight
        change += own["sparse"].dense(own["sparse"].values).T
        delta = own["bias"].deltas[0].clone()
    attached.detach()
    query = model.get_submodule(path)
    with torch.no_grad():
        query.weight += change
        query.bias += delta
    bottleneck, _ = attach_own(model, layout, modules[3], 1, "attention")
    bottleneck.load_state_dict(own["bottleneck"].state_dict())
    torch.testing.assert_close(logits(model, batch), found, atol=1e-5, rtol=1e-5)


def test_sensitivity_is_asked_for_by_path() -> None:
    model, layout = build("GPT-2")
    module = Module("sparse", 0.01, (0, 1), (("mask", "sensitivity"), ("sites", ("qkv", "down"))))
    paths = []

    def scores(path: str) -> torch.Tensor:
        paths.append(path)
        return model.get_submodule(path).weight * torch.arange(model.get_submodule(path).weight.shape[1])

    for layer in module.layers:
        for site in module.sites:
            delta, _ = attach_own(model, layout, module, layer, site, scores)
            path = layout.layers[layer].sites[site]
            place = layout.shape.place(layer, site)
            assert place is not None
            assert place.transposed
            expected = scores(path).flatten().topk(round(0.01 * place.inputs * place.outputs)).indices
            assert delta.indices.tolist() == sorted(expected.tolist())
    assert set(paths) == {layout.layers[i].sites[s] for i in (0, 1) for s in ("qkv", "down")}
    with pytest.raises(ValueError, match="without scores"):
        attach_own(model, layout, module, 0, "qkv")
    loaded, _ = attach_own(model, layout, module, 1, "down", saved=True)
    loaded.load_state_dict(delta.state_dict())
    assert torch.equal(loaded.indices, delta.indices)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bottleneck", "sparse", "bias", "prefix"]),
            st.sampled_from([1, 2, 10, 0.1, 0.01, 1e-5]),
            st.sampled_from(["serial", "parallel"]),
            st.sampled_from(["relu", "leaky_relu"]),
            st.sampled_from(["q", "v", "attention", "ffn", "norm"]),
            st.integers(0, 11),
        ),
        unique=True,
        max_size=12,
    )
)
def test_names_are_unlike_and_can_be_keys(chosen: list[tuple[Any, ...]]) -> None:
    """Of modules as a configuration has them: places of one type, size and options are one module."""
    modules = []
    for kind, size, position, activation, site, layer in chosen:
        options = {
            "bottleneck": {"position": position, "activation": activation, "scaling": 1.5},
            "sparse": {"mask": "random"},
        }.get(kind, {})
        modules.append(Module(kind, size, (layer,), (*options.items(), ("sites", (site,)))))
    held = nn.ModuleDict()
    for module in Configuration.of(modules, 1e-3).modules:
        for layer in module.layers:
            for site in module.sites:
                name = own_name(module, layer, site)
                if not OWN_TYPES[module.type].size and name in held:
                    continue  # two sizes of a type that has none: no space writes that
                assert name not in held
                held[name] = nn.Identity()
