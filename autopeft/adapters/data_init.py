"""Initialisations of LoRA that look at training data. On torch, transformers and peft alone, as `Stack` is."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from peft import LoraConfig, PeftModel, initialize_lora_eva_weights
from peft.tuners.lora.corda import preprocess_corda
from torch import nn

EVA_PASSES = 200
"""Most batches that EVA's directions get to come to rest."""

CORDA_EXAMPLES = 256
"""Examples from which CorDA takes covariances (section 4.1 of its paper)."""


def eva_init(wrapper: PeftModel, batches: Callable[[], Iterable[dict[str, torch.Tensor]]]) -> None:
    """Give a LoRA with `init_lora_weights="eva"` the main directions of its maps' inputs. Paischer et al. 2024.

    Args:
        wrapper: With that LoRA on.
        batches: Begins anew a pass over batches without labels.

    Raises:
        ValueError: No batch has as many tokens as the LoRA has ranks, or the directions do not come to rest.
    """
    config = wrapper.peft_config["default"]
    needed = max([config.r, *config.rank_pattern.values()])

    def tokens(batch: dict[str, torch.Tensor]) -> int:
        mask = batch.get("attention_mask")
        return int(mask.sum()) if mask is not None else len(next(iter(batch.values())))

    large = [batch for batch in itertools.islice(batches(), EVA_PASSES) if tokens(batch) >= needed]
    if not large:
        raise ValueError(f"init eva needs a batch of {needed} tokens or images, and no batch is that large.")
    passes = itertools.count(1)

    def run(model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
        if next(passes) > EVA_PASSES:
            raise ValueError(f"the directions of init eva did not come to rest in {EVA_PASSES} batches.")
        model(**batch)

    def mask_of(batch: dict[str, torch.Tensor], config: LoraConfig) -> torch.Tensor | None:
        mask = batch.get("attention_mask")
        return None if mask is None else mask.bool()

    def rows(inputs: Any, mask: torch.Tensor | None, name: str) -> torch.Tensor:
        x: torch.Tensor = inputs[0] if isinstance(inputs, tuple | list) else inputs
        return x[mask] if mask is not None and x.shape[:2] == mask.shape else x.reshape(-1, x.shape[-1])

    initialize_lora_eva_weights(
        wrapper,
        large,
        forward_fn=run,
        prepare_model_inputs_fn=mask_of,
        prepare_layer_inputs_fn=rows,
        show_progress_bar=False,
    )


def corda_prepare(
    model: nn.Module, config: LoraConfig, batches: Callable[[], Iterable[dict[str, torch.Tensor]]]
) -> None:
    """Leave on each target what `init_lora_weights="corda"` reads when the LoRA is put on. Yang et al. 2024.

    Args:
        model: Bare.
        config: Of the LoRA.
        batches: Begins anew a pass over batches without labels.

    Raises:
        ValueError: The inputs of a map are not finite.
    """

    def examples() -> Iterator[dict[str, torch.Tensor]]:  # peft takes one at a time, and would count padding
        for batch in batches():
            mask = batch.get("attention_mask")
            for i in range(len(next(iter(batch.values())))):
                one = {name: tensor[i : i + 1] for name, tensor in batch.items()}
                if mask is not None:
                    kept = mask[i].bool()
                    one = {n: t[:, kept] if t.shape[:2] == (1, len(kept)) else t for n, t in one.items()}
                yield one

    def run() -> None:
        with torch.no_grad():
            for one in itertools.islice(examples(), CORDA_EXAMPLES):
                model(**one)

    preprocess_corda(model, config, run_model=run)
