"""In an environment with AdapterHub's adapters: builds the adapter of a folder on its model, fills it, and says what comes out.

    python adapters_probe.py FOLDER ...

Beside the recipe a folder has `probe.json`, with `weights` (by layer, site, position and part) and `input_ids`. Prints JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import adapters
import known_keys
import torch
import transformers


def probed(folder: Path) -> dict[str, Any]:
    """What adapters makes of a folder: the places, how many numbers are trained, and the last hidden states."""
    probe = json.loads((folder / "probe.json").read_text())
    wanted = json.loads((folder / "model.json").read_text())
    model = getattr(transformers, wanted["auto"]).from_pretrained(
        wanted["path"], ignore_mismatched_sizes=True, **wanted["arguments"]
    )
    adapters.init(model)
    model.add_adapter("autopeft", config=adapters.AdapterConfig.load(str(folder / "adapter_config.json")))
    model.train_adapter("autopeft")
    model.eval()
    places = []
    for index, layer in model.iter_layers():
        for name, module in layer.named_modules():
            if not hasattr(module, "adapter_down"):
                continue
            holder = layer.get_submodule(name.rpartition(".adapters.")[0])
            site = {"mh_adapter": "attention", "output_adapter": "ffn"}[holder.location_key]
            position = "parallel" if type(module).__name__ == "ParallelAdapter" else "serial"
            places.append(f"{index} {site} {position}")
            assert not module.adapter_up.weight.any()  # as ours begin
            for part, linear in (("down", module.adapter_down[0]), ("up", module.adapter_up)):
                for kind, tensor in linear.named_parameters():
                    assert tensor.requires_grad
                    with torch.no_grad():
                        tensor.copy_(torch.tensor(probe["weights"][f"{places[-1]} {part}.{kind}"]))
    with torch.no_grad():
        hidden = model.base_model(input_ids=torch.tensor(probe["input_ids"]))[0]
    trainable = sum(p.numel() for p in model.base_model.parameters() if p.requires_grad)
    return {"places": places, "trainable": trainable, "hidden": hidden.tolist()}


found = [probed(Path(folder)) for folder in sys.argv[1:]]
keys = [known_keys.known(trainer) for trainer in ("adapters", "training-arguments")]
print(json.dumps({"keys": keys, "found": found}))
