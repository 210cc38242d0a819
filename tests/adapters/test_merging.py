"""Merged weights: the same outputs from a model of its plain class, for every type that can be merged; a name for the others."""

from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper

from autopeft.adapters.merging import merge
from autopeft.errors import InputError
from autopeft.nouns import Module

from .table import (
    CASES,
    FAMILIES,
    Variant,
    bare,
    everything,
    layout_of,
    logits_of,
    module_of,
    put_on,
    same,
    train,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
NEVER = ("bottleneck", "prefix", "prompt_tuning", "prefix_tuning")


def merged(family: str, *modules: Module, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of trained modules, and of a plain model that was loaded from the merged weights."""
    model = bare(family)
    attached, configuration = put_on(model, family, modules)
    train(attached, family)
    with torch.no_grad():
        for name, tensor in attached.head_state().items():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    before = logits_of(attached.runner, family)
    merge(attached, layout_of(bare(family)), configuration)
    assert not any(isinstance(m, BaseTunerLayer | ModulesToSaveWrapper) for m in model.modules())
    assert set(model.state_dict()) == set(bare(family).state_dict())
    model.save_pretrained(folder)  # type: ignore[operator]
    return before, logits_of(FAMILIES[family].auto.from_pretrained(folder).eval(), family)


@pytest.mark.parametrize(("variant", "family"), CASES, ids=lambda value: getattr(value, "name", value))
def test_every_type(variant: Variant, family: str, tmp_path: Path) -> None:
    module = module_of(variant, family)
    if variant.type not in NEVER:
        before, after = merged(family, module, folder=tmp_path)
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
        return
    model = bare(family)
    attached, configuration = put_on(model, family, [module])
    on, logits = everything(model), logits_of(attached.runner, family)
    named = dict(module.options)["position"] if variant.type == "bottleneck" else variant.type
    with pytest.raises(InputError, match=rf"cannot be merged: (a )?{named} .* Export it without --merge"):
        merge(attached, layout_of(bare(family)), configuration)
    assert same(everything(model), on)
    assert torch.equal(logits_of(attached.runner, family), logits)


@pytest.mark.parametrize("family", ["BERT", "GPT-2"])
@pytest.mark.parametrize("types", ["lora+ia3+sparse", "hira+lora+bias", "lora+ln_tuning"])
def test_several_at_one_place(types: str, family: str, tmp_path: Path) -> None:
    linears = ("sites", FAMILIES[family].linears)
    known = {
        "lora": Module("lora", 2, (0, 1), (("alpha", 3.0), linears)),
        "ia3": Module("ia3", 1, (0, 1), (linears,)),
        "hira": Module("hira", 2, (0, 1), (linears,)),
        "sparse": Module("sparse", 0.1, (0, 1), (linears,)),
        "bias": Module("bias", 1, (0, 1), (("sites", (*FAMILIES[family].linears, "norm")),)),
        "ln_tuning": Module("ln_tuning", 1, (0, 1), (("sites", ("norm",)),)),
    }
    before, after = merged(family, *(known[one] for one in types.split("+")), folder=tmp_path)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
