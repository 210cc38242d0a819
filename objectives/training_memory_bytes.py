"""Peak memory of a training step on the longest training examples, as many as a batch has.

On a GPU it is the peak of the allocator over a forward and a backward pass, the optimiser's state being there. On a CPU,
whose resident memory says nothing of one trial on a warm worker, it is counted: all parameters and buffers of the model, the
tensors that are saved for the backward pass, the gradients, and the two moments of AdamW of what is trained; each storage
once. What a single operation needs in passing is not in the count, so an allocator's peak is somewhat above it.
"""

from typing import TYPE_CHECKING, Any

from autopeft.registry import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from autopeft.train.trained import Trained

_OF_ADAMW = 3  # a gradient and two moments, of the parameter's own size


def measure(trained: "Trained") -> float:
    """Bytes."""
    return float(_allocated(trained) if trained.bench.device.type == "cuda" else _counted(trained))


def _allocated(trained: "Trained") -> int:
    import torch

    device = trained.bench.device
    torch.cuda.reset_peak_memory_stats(device)
    trained.loss().backward()
    peak = int(torch.cuda.max_memory_allocated(device))
    for parameter in trained.attached.trainable():
        parameter.grad = None
    return peak


def _counted(trained: "Trained") -> int:
    from torch.autograd.graph import saved_tensors_hooks

    storages: dict[int, int] = {}  # address to bytes
    kept: list[Any] = []  # an address is that of one storage for as long as the tensor lives

    def count(tensor: "Tensor") -> None:
        for part in _dense(tensor):
            storage = part.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            kept.append(part)

    runner = trained.attached.runner
    for tensor in (*runner.parameters(), *runner.buffers()):
        count(tensor)
    with saved_tensors_hooks(count, lambda nothing: nothing):  # nobody goes back through this graph
        kept.append(trained.loss())
    trained_bytes = sum(p.numel() * p.element_size() for p in trained.attached.trainable())
    # Or the graph would be there for ever: it holds on to `count`, which holds on to it, and the garbage collector does not see
    # how. For the same reason `count` answers nothing: an answer is kept in place of the tensor, by what the tensor came from.
    kept.clear()
    return sum(storages.values()) + _OF_ADAMW * trained_bytes


def _dense(tensor: "Tensor") -> "list[Tensor]":
    return [tensor._indices(), tensor._values()] if tensor.is_sparse else [tensor]


OBJECTIVE = Objective(
    name="training_memory_bytes",
    direction="minimize",
    unit="bytes",
    title="Training memory",
    short="memory",
    log=True,
    measure=measure,
)
