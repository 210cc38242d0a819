"""Every type of module, in every form that it has, on tiny backbones of several families.

As a script it writes what it finds to `autopeft/adapters/tested.json`, and `docs/modules.md` from that:

    python tests/adapters/table.py
"""

import copy
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as t
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from autopeft.adapters import Attached, attach, load_adapter, save_adapter
from autopeft.adapters.pack import Pack, objection
from autopeft.backbones.layout import Layout, find_layout
from autopeft.dsl.cost import adapter_bytes, trainable_parameters
from autopeft.dsl.module_table import RECORD, markdown
from autopeft.dsl.types import MODULE_TYPES
from autopeft.nouns import Configuration, Module

DOCS = Path(__file__).resolve().parents[2] / "docs" / "modules.md"
STEPS = 10  # of AdaLoRA's schedule: ranks are pruned from the second on

# Weights large enough that what a module does is far from what rounding does.
_SMALL: dict[str, Any] = {"vocab_size": 40, "pad_token_id": 0, "initializer_range": 0.3, "num_labels": 3}
_WIDTHS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}


@dataclass(frozen=True)
class Family:
    """A tiny backbone.

    Attributes:
        config: Its configuration.
        auto: The class that makes a model of it.
        head: Paths of the modules of its head.
        linears: Two sites of linear maps, one of them not square.
    """

    config: Any
    auto: Any
    head: tuple[str, ...]
    linears: tuple[str, str]

    @property
    def task_type(self) -> str | None:
        """What peft calls its problem."""
        return "SEQ_CLS" if self.auto is t.AutoModelForSequenceClassification else None


TEXT, IMAGE = t.AutoModelForSequenceClassification, t.AutoModelForImageClassification
FAMILIES = {
    "BERT": Family(
        t.BertConfig(**_SMALL, **_WIDTHS, max_position_embeddings=32), TEXT, ("classifier",), ("q", "down")
    ),
    "DistilBERT": Family(
        t.DistilBertConfig(
            **_SMALL, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=32
        ),
        TEXT,
        ("classifier", "pre_classifier"),
        ("q", "down"),
    ),
    "Llama": Family(t.LlamaConfig(**_SMALL, **_WIDTHS, num_key_value_heads=2), TEXT, ("score",), ("v", "up")),
    "GPT-2": Family(
        t.GPT2Config(
            **_SMALL,
            bos_token_id=1,
            eos_token_id=1,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_inner=24,
            n_positions=32,
        ),
        TEXT,
        ("score",),
        ("qkv", "down"),
    ),
    "ViT": Family(
        t.ViTConfig(**_WIDTHS, image_size=8, patch_size=4, initializer_range=0.3, num_labels=3),
        IMAGE,
        ("classifier",),
        ("q", "down"),
    ),
}


@dataclass(frozen=True)
class Variant:
    """A type of module in one form.

    Attributes:
        type: Its name.
        size: Its size.
        options: Fields that are not at their defaults.
        families: Where it is tried.
    """

    type: str
    size: float
    options: dict[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ("BERT", "Llama")

    @property
    def name(self) -> str:
        """As in `lora dora=True`."""
        return " ".join([self.type, *(f"{name}={value}" for name, value in self.options.items())])


_ALL = ("BERT", "Llama", "GPT-2")  # types that know GPT-2's Conv1D
_PICTURES = ("BERT", "Llama", "GPT-2", "ViT")


def _forms(type_: str, size: float, families: Sequence[str], *options: dict[str, Any]) -> list[Variant]:
    return [Variant(type_, size, each, tuple(families)) for each in options]


VARIANTS = [
    *_forms("lora", 2, _PICTURES, {}, {"init": "eva"}, {"init": "corda"}),
    *_forms("lora", 2, _ALL, {"alpha": 3.0}, {"rslora": True}, {"dora": True}),
    *_forms("lora", 2, _ALL, {"init": "gaussian"}, {"init": "orthogonal"}, {"init": "pissa"}),
    *_forms("lora", 2, _ALL, {"dora": True, "init": "pissa", "rslora": True}),
    *_forms("lora", 2, ("BERT", "Llama"), {"init": "olora"}),
    *_forms("adalora", 3, _ALL, {"target_rank": 1}),
    *_forms("adalora", 3, ("BERT", "Llama"), {"target_rank": 2, "orth_reg_weight": 0.0}),
    *_forms("ia3", 1, _ALL, {}, {"feedforward": True}),
    *_forms("loha", 2, ("BERT", "Llama"), {}),
    *_forms("lokr", 2, ("BERT", "Llama"), {}, {"decompose_factor": 2}),
    *_forms("lokr", 1, ("BERT", "Llama"), {"decompose_both": True}),
    *_forms("oft", 4, ("BERT", "Llama"), {}, {"block_share": True}, {"use_cayley_neumann": False}),
    *_forms("oft", 4, ("BERT", "Llama"), {"coft": True, "eps": 1e-3}),
    *_forms("boft", 4, ("BERT", "Llama"), {}),
    *_forms("hra", 2, ("BERT", "Llama"), {}),
    *_forms("vera", 3, _ALL, {}, {"save_projection": False, "d_initial": 0.2}),
    *_forms("vblora", 2, _ALL, {"num_vectors": 5, "vector_length": 8}),
    *_forms("vblora", 2, ("BERT", "Llama"), {"num_vectors": 6, "vector_length": 4, "topk": 3}),
    *_forms("randlora", 3, _ALL, {}, {"sparse": True}, {"very_sparse": True}),
    *_forms("fourierft", 7, _ALL, {}, {"init": "zeros", "scaling": 20.0}),
    *_forms("waveft", 7, _ALL, {}, {"use_idwt": False, "scaling": 5.0}, {"wavelet_family": "sym3"}),
    *_forms("miss", 3, ("BERT", "Llama"), {}, {"mode": "mini", "mini_r": 4}),
    *_forms("miss", 4, ("BERT", "Llama"), {"mode": "bat"}),
    *_forms("c3a", 4, ("BERT", "Llama"), {}, {"init": "zeros"}, {"init": "gaussian"}),
    *_forms("c3a", 8, ("BERT", "Llama"), {"init": "kaiming_uniform"}),
    *_forms("delora", 2, ("BERT", "Llama"), {}, {"delora_lambda": 4.0}),
    *_forms("gralora", 4, _ALL, {}, {"hybrid_r": 1}, {"gralora_k": 4}),
    *_forms("hira", 2, _ALL, {}, {"init": "gaussian"}),
    *_forms("psoft", 3, ("BERT", "Llama"), {}, {"psoft_orth": False}, {"ab_svd_init": "pissa_init"}),
    *_forms("psoft", 3, ("BERT", "Llama"), {"psoft_mag_a": False, "psoft_mag_b": False}),
    *_forms("shira", 2, ("BERT", "Llama"), {}),
    *_forms("supertuning", 0.1, ("BERT", "Llama"), {}, {"select_top": False}, {"rank": 2}),
    *_forms("ln_tuning", 1, _PICTURES, {}),
    *_forms("prompt_tuning", 3, ("BERT", "DistilBERT"), {}, {"init": "sample_vocab"}),
    *_forms("prefix_tuning", 3, _ALL, {}, {"init": "zeros"}),
    *_forms("bottleneck", 6, _PICTURES, {"position": "serial"}, {"position": "parallel"}),
    *_forms(
        "bottleneck",
        6,  # of three units of ReLU all can be dead
        ("BERT", "Llama"),
        *(
            {"position": "parallel", "activation": a}
            for a in ("gelu", "silu", "tanh", "sigmoid", "leaky_relu")
        ),
        {"position": "parallel", "scaling": 4.0},
    ),
    *_forms("prefix", 3, _PICTURES, {}),
    *_forms("sparse", 0.1, _PICTURES, {}),
    *_forms("sparse", 0.1, _ALL, {"mask": "random"}),
    *_forms("bias", 1, ("BERT", "GPT-2", "ViT"), {}),
]
CASES = [(variant, family) for variant in VARIANTS for family in variant.families]


def bare(family: str) -> nn.Module:
    """A frozen model with the same random weights every time."""
    torch.manual_seed(0)
    one = FAMILIES[family]
    model: nn.Module = one.auto.from_config(copy.deepcopy(one.config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # transformers makes them 0, and a norm's
                parameter.normal_(std=0.1)
    return model.requires_grad_(False).eval()


def layout_of(model: nn.Module) -> Layout:
    """Where its sites are."""
    return find_layout(model, sum(p.numel() for p in model.base_model.parameters()))  # type: ignore[arg-type]


def batch_of(family: str) -> dict[str, torch.Tensor]:
    """Three images, or three texts of ten tokens of which the second is shorter and padded."""
    generator = torch.Generator().manual_seed(1)
    if not FAMILIES[family].task_type:
        return {"pixel_values": torch.randn(3, 3, 8, 8, generator=generator)}
    ids = torch.randint(3, 40, (3, 10), generator=generator)
    mask = torch.ones_like(ids)
    ids[1, 6:] = mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def module_of(variant: Variant, family: str) -> Module:
    """The variant in both layers, at two linear maps or where else it goes."""
    known = MODULE_TYPES[variant.type]
    blocks = ("attention", "ffn") if known.at == "block" else known.sites
    sites = FAMILIES[family].linears if known.at in ("linear", "bias") else blocks
    layers = (0,) if known.at == "input" else (0, 1)
    return Module(
        variant.type, variant.size, layers, tuple(sorted([*variant.options.items(), ("sites", sites)]))
    )


def everything(model: nn.Module) -> dict[str, Any]:
    """All that a module could leave behind."""
    found: dict[str, Any] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, module in model.named_modules():
        found[f"{name} type"] = type(module)
        found[f"{name} attributes"] = set(module.__dict__)
        found[f"{name} hooks"] = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    found["trained"] = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return found


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two of `everything` are the same, to the last bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )


def put_on(
    model: nn.Module, family: str, modules: Sequence[Module], steps: int | None = STEPS
) -> tuple[Attached, Configuration]:
    """Modules on a model, from a seed."""
    configuration = Configuration.of(modules, 1e-2)
    torch.manual_seed(3)
    attached = attach(
        model,  # type: ignore[arg-type]
        layout_of(model),
        FAMILIES[family].head,
        configuration,
        task_type=FAMILIES[family].task_type,
        steps=steps,
        batches=lambda: itertools.repeat(batch_of(family), 4),
    )
    return attached, configuration


def logits_of(runner: nn.Module, family: str) -> torch.Tensor:
    """As `predict` computes them."""
    with torch.inference_mode():
        logits: torch.Tensor = runner(**batch_of(family)).logits
    return logits.clone()


def train(attached: Attached, family: str, steps: int = 2) -> list[str]:
    """Train the modules alone, as the loop does; the parameters that never had a gradient."""
    parameters = attached.module_parameters()
    names = {id(p): name for name, p in attached.runner.named_parameters()}
    without = {id(p) for p in parameters}
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0)
    for step in range(1, steps + 1):
        logits = attached.runner(**batch_of(family)).logits
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2]))
        further = attached.penalty()
        (loss if further is None else loss + further).backward()
        without -= {id(p) for p in parameters if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        optimizer.step()
        attached.after_step(step)
        optimizer.zero_grad()
    return sorted(names[i] for i in without)


def losses_of(family: str, together: Sequence[Sequence[Module]], steps: int = 3) -> list[list[float]]:
    """The losses of configurations that are trained on one model at once, head and all; of each its steps."""
    model = bare(family)
    before = everything(model)
    pack = Pack(model)  # type: ignore[arg-type]
    on = [pack.add(lambda modules=modules: put_on(model, family, modules)[0]) for modules in together]
    batch = {name: torch.cat([tensor] * len(on)) for name, tensor in batch_of(family).items()}
    optimizers = []
    for attached in on:
        with pack.alone(attached):
            optimizers.append(torch.optim.AdamW(attached.trainable(), lr=1e-2))
    found: list[list[float]] = [[] for _ in on]
    pack.show(on).rows = 3 * len(on)
    for _ in range(steps):
        parts = model(**batch).logits.chunk(len(on))
        losses = [nn.functional.cross_entropy(part, torch.tensor([0, 1, 2])) for part in parts]
        torch.stack(losses).sum().backward()
        for optimizer, loss, noted in zip(optimizers, losses, found, strict=True):
            noted.append(float(loss.detach()))
            optimizer.step()
            optimizer.zero_grad()
    pack.take_all_off()
    assert same(everything(model), before)
    return found


def packs(variant: Variant, family: str) -> bool:
    """Whether it trains beside others on one model as it does alone, and they as they do."""
    module = module_of(variant, family)
    if objection(Configuration.of([module], 1e-2)):
        return False
    linears = ("sites", FAMILIES[family].linears)
    both: list[Module] = [
        Module("lora", 3, (0, 1), (("alpha", 4.0), linears)),
        Module("bottleneck", 4, (1,), (("position", "parallel"), ("sites", ("ffn",)))),
        Module("prefix", 2, (0,), (("sites", ("attention",)),)),
    ]
    together: list[list[Module]] = [[module], both, []]
    alone = [losses_of(family, [one])[0] for one in together]
    return bool(torch.allclose(torch.tensor(losses_of(family, together)), torch.tensor(alone), atol=1e-4))


def saved_bytes(folder: Path, head: Sequence[str]) -> int:
    """Bytes of the tensors in a folder, the head aside."""
    total = 0
    for file in folder.rglob("*.safetensors"):
        for name, tensor in load_file(file).items():
            own = file.name.startswith("autopeft")
            inside = name.startswith("head.") if own else any(f".{part}." in f".{name}" for part in head)
            total += 0 if inside else tensor.numel() * tensor.element_size()
    return total


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether logits are the same but for rounding."""
    return torch.allclose(first, second, rtol=1e-4, atol=2e-5)


def with_peft(family: str, folder: Path) -> nn.Module:
    """A bare model with an adapter, as a person who has only peft loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's advice
        model: nn.Module = PeftModel.from_pretrained(bare(family), str(folder))
    return model.eval()


def examine(variant: Variant, family: str, folder: Path) -> dict[str, Any]:
    """Put a variant through all that a trial and an export do; what it did."""
    one = FAMILIES[family]
    model = bare(family)
    before, start = everything(model), logits_of(model, family)
    shape = layout_of(model).shape
    attached, configuration = put_on(model, family, [module_of(variant, family)])
    found: dict[str, Any] = {"identity": close(logits_of(attached.runner, family), start)}
    built = sum(p.numel() for p in attached.module_parameters())
    save_adapter(attached, configuration, folder / "start", task_type=one.task_type, record={})
    found["count exact"] = built == trainable_parameters(configuration, shape)
    found["bytes exact"] = saved_bytes(folder / "start", one.head) == adapter_bytes(configuration, shape)
    found["parameters"] = built
    without = train(attached, family)
    found["trains"] = not without and not close(logits_of(attached.runner, family), start)
    with torch.no_grad():
        for name, tensor in attached.head_state().items():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    trained = logits_of(attached.runner, family)
    save_adapter(attached, configuration, folder / "trained", task_type=one.task_type, record={})
    found["smaller"] = saved_bytes(folder / "trained", one.head) < saved_bytes(folder / "start", one.head)
    planned = len(attached.planned)
    attached.detach()
    found["packs"] = packs(variant, family)
    found["comes off"] = same(everything(model), before) and torch.equal(logits_of(model, family), start)

    loaded = load_adapter(bare(family), folder / "trained")  # type: ignore[arg-type]
    found["loads"] = close(logits_of(loaded, family), trained)
    if planned == 1:
        found["loads with peft"] = close(logits_of(with_peft(family, folder / "trained"), family), trained)
    return found


def record() -> list[dict[str, Any]]:
    """A row a variant: in which families what was found; `identity` and the rest only if in all of them."""
    rows = []
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            found = {f: examine(variant, f, Path(folder) / f) for f in variant.families}
        rows.append(row(variant, found))
        print(variant.name, rows[-1], file=sys.stderr)
    return rows


def row(variant: Variant, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is recorded of a variant."""
    first = found[variant.families[0]]
    checks = [name for name in first if isinstance(first[name], bool) and name != "smaller"]
    return {
        "type": variant.type,
        "size": variant.size,
        "options": variant.options,
        "families": list(variant.families),
        **{name: all(each[name] for each in found.values()) for name in checks},
        "parameters": first["parameters"],
    }


def main() -> None:
    torch.set_num_threads(1)
    rows = record()
    RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    DOCS.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
