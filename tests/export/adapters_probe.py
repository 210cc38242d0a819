"""In an environment with AdapterHub's adapters: builds the adapter of a folder on its model, fills it, and says what came of it.

    python adapters_probe.py FOLDER PROBE

PROBE is a JSON file with `weights` (location, layer and part to a matrix) and `input_ids`. Prints JSON: the shape and place of
every trainable tensor, and the logits.
"""

import json
import sys
from pathlib import Path

import adapters
import torch
import transformers

folder, probe = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
wanted = json.loads((folder / "model.json").read_text())
model = getattr(transformers, wanted["auto"]).from_pretrained(
    wanted["path"], ignore_mismatched_sizes=True, **wanted["arguments"]
)
adapters.init(model)
config = adapters.AdapterConfig.load(str(folder / "adapter_config.json"))
model.add_adapter("autopeft", config=config)
model.train_adapter("autopeft")
model.eval()
found = {}
for layer_index, layer in model.iter_layers():
    for name, module in layer.named_modules():
        if not hasattr(module, "adapter_down"):
            continue
        holder = layer.get_submodule(name.rpartition(".adapters.")[0])
        site = {"mh_adapter": "attention", "output_adapter": "ffn"}[holder.location_key]
        position = "parallel" if type(module).__name__ == "ParallelAdapter" else "serial"
        place = f"{layer_index} {site} {position}"
        found[place] = {"width": module.adapter_up.in_features, "scaling": module.scaling}
        for part, linear in (("down", module.adapter_down[0]), ("up", module.adapter_up)):
            for name in ("weight", "bias"):
                tensor = getattr(linear, name)
                assert tensor.requires_grad
                if part == "up":
                    assert not tensor.any()  # as ours begin
                with torch.no_grad():
                    tensor.copy_(torch.tensor(probe["weights"][f"{place} {part}.{name}"]))
inside = sum(p.numel() for p in model.base_model.parameters() if p.requires_grad)
with torch.no_grad():
    hidden = model.base_model(input_ids=torch.tensor(probe["input_ids"]))[0]
print(
    json.dumps(
        {"version": adapters.__version__, "places": found, "trainable": inside, "hidden": hidden.tolist()}
    )
)
