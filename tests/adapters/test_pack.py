"""Several configurations on one model; that each type trains as it does alone is in test_table.py."""

import pytest
import torch
from backbones.architectures import find, inputs
from backbones.running import prepare

from autopeft.adapters import attach
from autopeft.adapters import pack as packing
from autopeft.adapters.attach import Attached
from autopeft.adapters.pack import NotPackedError, Pack, can_share, objection
from autopeft.nouns import Configuration, Module

from .table import bare, batch_of, everything, logits_of, put_on, same

torch.set_num_threads(1)
LINEARS = ("sites", ("q", "down"))


def lora(rank: int, **options: object) -> list[Module]:
    return [Module("lora", rank, (0, 1), tuple(sorted([*options.items(), ("alpha", 4.0), LINEARS])))]


def on_bert(*together: list[Module]) -> tuple[Pack, list[Attached]]:
    """Configurations on the tiny BERT, their modules no longer the identity."""
    model = bare("BERT")
    pack = Pack(model)  # type: ignore[arg-type]
    on = [pack.add(lambda modules=modules: put_on(model, "BERT", modules)[0]) for modules in together]
    for number, attached in enumerate(on):
        with pack.alone(attached), torch.no_grad():
            for parameter in attached.trainable():
                parameter.add_(
                    torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 9
                )
    return pack, on


def packed(pack: Pack, on: list[Attached]) -> torch.Tensor:
    """Logits of the batch, of each configuration: (K, 3, classes)."""
    rows = pack.show(on)
    batch = {name: torch.cat([tensor] * len(on)) for name, tensor in batch_of("BERT").items()}
    rows.rows = 3 * len(on)
    with torch.inference_mode():
        return torch.stack(pack.model(**batch).logits.chunk(len(on)))  # type: ignore[operator]


def alone(pack: Pack, on: list[Attached]) -> torch.Tensor:
    found = []
    for attached in on:
        with pack.alone(attached):
            found.append(logits_of(pack.model, "BERT"))
    return torch.stack(found)


def test_lora_of_all_ranks_is_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    own = packing._LowRank.__call__
    monkeypatch.setattr(
        packing._LowRank, "__call__", lambda self, x: called.append(self._rank) or own(self, x)
    )
    pack, on = on_bert(lora(2), [], lora(5))
    assert torch.allclose(packed(pack, on), alone(pack, on), atol=1e-5)
    assert set(called) == {5}
    called.clear()
    pack, on = on_bert(lora(2), lora(3, dora=True))  # a norm of the whole weight: no plain sum
    assert torch.allclose(packed(pack, on), alone(pack, on), atol=1e-5)
    assert not called


def test_those_that_are_left_stay_as_they_are() -> None:
    pack, on = on_bert(lora(2), lora(3), [])
    before = packed(pack, on)
    pack.take_off(on[1])
    assert torch.allclose(packed(pack, [on[0], on[2]]), before[[0, 2]], atol=1e-5)
    with pack.alone(on[2]):
        pass
    assert torch.allclose(packed(pack, [on[2]]), before[[2]], atol=1e-5)


def test_all_come_off() -> None:
    model = bare("BERT")
    before = everything(model)
    pack = Pack(model)  # type: ignore[arg-type]
    prefix = Module("prefix", 2, (0, 1), (("sites", ("attention",)),))
    parallel = Module("bottleneck", 2, (1,), (("position", "parallel"), ("sites", ("ffn",))))
    on = [
        pack.add(lambda modules=modules: put_on(model, "BERT", modules)[0])
        for modules in ([prefix], [parallel, prefix], lora(2))
    ]
    pack.show(on)
    pack.take_all_off()
    assert same(everything(model), before)


def test_one_that_cannot_be_put_on_leaves_the_others() -> None:
    pack, on = on_bert(lora(2), [])
    before = packed(pack, on)

    def fails() -> Attached:
        put_on(pack.model, "BERT", lora(1))
        raise ValueError("it cannot")

    with pytest.raises(ValueError, match="it cannot"):
        pack.add(fails)
    assert torch.allclose(packed(pack, on), before)


def test_what_is_no_batch_is_nobodys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """DeBERTa reads its relative positions through the same maps as the tokens: they are the same for all examples."""
    architecture = find("DeBERTa-v3")
    backbone = prepare(architecture, tmp_path_factory.mktemp("deberta"))
    modules = [Module("lora", 2, (0, 1), (("alpha", 4.0), ("sites", ("q", "k"))))]
    configuration = Configuration.of(modules, 1e-2)
    pack = Pack(backbone.model)
    on = [
        pack.add(lambda: attach(backbone.model, backbone.layout, backbone.head, configuration))
        for _ in range(2)
    ]
    pack.show(on).rows = 6
    batch = {name: torch.cat([tensor] * 2) for name, tensor in inputs(architecture).items()}
    with pytest.raises(NotPackedError):
        backbone.model(**batch)


def test_who_trains_alone() -> None:
    def why(type_: str, *layers: int, **options: object) -> str:
        sites = {"prompt_tuning": ("input",), "lora": ("q",), "adalora": ("q",)}[type_]
        module = Module(type_, 2, layers, tuple(sorted([*options.items(), ("sites", sites)])))
        return objection(Configuration.of([module], 1e-2))

    assert why("lora", 1, alpha=4.0) == ""
    assert why("prompt_tuning", 0) == "prompt_tuning puts tokens before the input"
    assert "the backbone's weights" in why("lora", 1, alpha=4.0, init="pissa")
    assert "ranks" in why("adalora", 1, target_rank=1)


def test_who_can_share_a_model() -> None:
    plain = Configuration.of(lora(2), 1e-2)
    assert can_share(plain, Configuration.of([], 1e-3))
    assert not can_share(plain, Configuration.of(lora(2), 1e-2, {"epochs": 9}))
    assert not can_share(plain, Configuration.of(lora(2, init="pissa"), 1e-2))
