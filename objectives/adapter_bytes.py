"""What the exported adapter weighs: the bytes of its tensors, by arithmetic over the backbone's shape.

The task head is not counted, and neither are the files' headers. Besides what is trained that is what has to be saved with
it, such as the positions of a sparse delta's entries. AdaLoRA prunes ranks while it trains, so its files may be smaller.
"""

from autopeft.dsl.cost import adapter_bytes
from autopeft.registry import Objective

OBJECTIVE = Objective(
    name="adapter_bytes",
    direction="minimize",
    unit="bytes",
    title="Adapter size",
    short="bytes",
    log=True,
    compute=adapter_bytes,
)
