"""Whether tokens before the input work on a model: tried out, because peft's wrapper leaves it to the model's code."""

import warnings
from typing import Any

import torch
from transformers import PreTrainedModel

from autopeft.errors import BackboneError

_TOLERANCE = 1e-3


def check_prompt(runner: Any, model: PreTrainedModel) -> None:
    """Run a short text through peft's wrapper, alone and with padding behind it.

    Args:
        runner: peft's wrapper with prompt tuning or prefix tuning, around the model.
        model: The model.

    Raises:
        BackboneError: The model's code cannot do it, or takes the padding for text: decoders find the last token of
            a text by its ids, which prompt tuning replaces by embeddings.
    """
    name, kind = type(model).__name__, runner.active_peft_config.peft_type.value.lower()
    config = model.config.get_text_config()
    padding = config.pad_token_id
    token = next(i for i in range(config.vocab_size) if i != padding)
    ids = torch.tensor([[token, token]], device=model.device)
    mask = torch.ones_like(ids)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            alone = runner(input_ids=ids, attention_mask=mask).logits
            if padding is None:
                return
            padded = torch.cat([ids, torch.full_like(ids, padding)], dim=1)
            longer = torch.cat([mask, torch.zeros_like(mask)], dim=1)
            beside = runner(input_ids=padded, attention_mask=longer).logits
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise BackboneError(
                f"peft's {kind} does not work on a {name} ({lines[0].rstrip('.')}): "
                "use `prefix`, or modules at linear sites."
            ) from None
    if alone.dim() == 3:  # a token's own logits: those of the padding count for nothing
        beside = beside[:, : alone.shape[1]]
    if not torch.allclose(alone, beside, rtol=0, atol=_TOLERANCE * max(1.0, float(alone.abs().max()))):
        raise BackboneError(
            f"with peft's {kind} a {name} takes the padding behind a text for text, so a text's score would depend on "
            "its batch: use `prefix_tuning`, `prefix`, or modules at linear sites."
        )
