"""Initialisations of LoRA that look at training data: what they look at."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from autopeft.adapters import attach, data_init
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module

from .table import FAMILIES, bare, batch_of, layout_of

torch.set_num_threads(1)


def factors(
    init: str, batch: dict[str, torch.Tensor], family: str = "BERT", site: str = "q"
) -> list[torch.Tensor]:
    """What A is in both layers after an initialisation."""
    model = bare(family)
    configuration = Configuration.of([Module("lora", 2, (0, 1), (("init", init), ("sites", (site,))))], 1e-2)
    torch.manual_seed(0)
    attached = attach(
        model,  # type: ignore[arg-type]
        layout_of(model),
        FAMILIES[family].head,
        configuration,
        task_type=FAMILIES[family].task_type,
        batches=lambda: [batch] * 3,
    )
    return [layer.lora_A["default"].weight.detach() for layer in attached.stack.adapters[0].layers.values()]


@pytest.mark.parametrize("init", ["eva", "corda"])
def test_padding_is_not_looked_at(init: str) -> None:
    batch = batch_of("BERT")
    other = {name: tensor.clone() for name, tensor in batch.items()}
    other["input_ids"][1, 6:] = 17
    changed = {name: tensor.clone() for name, tensor in batch.items()}
    changed["input_ids"][1, 5] = 17
    found = factors(init, batch)
    for one, same in zip(found, factors(init, other), strict=True):
        torch.testing.assert_close(one, same)
    assert any(not torch.allclose(one, new) for one, new in zip(found, factors(init, changed), strict=True))


def test_eva_is_the_main_directions_of_a_map_s_inputs() -> None:
    """Of the first layer's, which are the embeddings of the tokens: their largest singular vectors, up to a sign."""
    model, batch = bare("BERT"), batch_of("BERT")
    with torch.no_grad():
        embedded = model.get_submodule("bert.embeddings")(batch["input_ids"])
    rows = embedded[batch["attention_mask"].bool()].repeat(3, 1)
    directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False).Vh[:2]
    (found, _) = factors("eva", batch)
    torch.testing.assert_close((found @ directions.T).abs(), torch.eye(2), atol=2e-2, rtol=0)


def test_images_are_all_looked_at() -> None:
    batch = batch_of("ViT")
    for init in ("eva", "corda"):
        found = factors(init, batch, "ViT")
        fewer = factors(init, {name: tensor[:2] for name, tensor in batch.items()}, "ViT")
        assert any(not torch.allclose(one, other) for one, other in zip(found, fewer, strict=True))


def test_directions_that_never_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """peft would go round for ever."""
    monkeypatch.setattr(data_init, "EVA_PASSES", 1)
    with pytest.raises(TrialError) as raised:
        factors("eva", batch_of("BERT"))
    assert str(raised.value) == (
        "init eva failed on the training data: the directions of init eva did not come to rest in 1 batches."
    )


def test_no_more_is_read_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_init, "CORDA_EXAMPLES", 4)
    model, taken = bare("BERT"), []

    def batches() -> Iterator[dict[str, Any]]:
        for i in range(9):
            taken.append(i)
            yield batch_of("BERT")

    for init, most in (("corda", 2), ("eva", 9)):
        taken.clear()
        configuration = Configuration.of([Module("lora", 2, (0,), (("init", init), ("sites", ("q",))))], 1e-2)
        attached = attach(
            model,  # type: ignore[arg-type]
            layout_of(model),
            ("classifier",),
            configuration,
            batches=batches,
        )
        attached.detach()
        assert len(taken) == most
