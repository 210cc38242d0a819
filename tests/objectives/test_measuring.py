"""Each objective against a count of its own."""

import gc
import re
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification

import autopeft
from autopeft.adapters import load_adapter
from autopeft.errors import TrialError
from autopeft.nouns import Configuration, Module
from autopeft.registry import Objective, find_objective
from autopeft.train import Report, Workbench

from .conftest import INNER, LAYERS, WIDTH, prepare
from .write_table import PAGE, page


def module(kind: str, size: float, *sites: str, layers: tuple[int, ...] = (0, 1), **options: Any) -> Module:
    return Module(kind, size, layers, tuple(sorted([*options.items(), ("sites", sites)])))


NOTHING = Configuration.of([], 1e-2)
LORA = Configuration.of([module("lora", 2, "q", "v", alpha=4.0)], 3e-2)
SERIAL = module("bottleneck", 4, "ffn", position="serial")


def last(
    bench: Workbench, configuration: Configuration, *names: str, folder: Path | None = None, seed: int = 0
) -> Report:
    wanted = [find_objective(name) for name in names]
    (*_, report) = bench.trial(configuration, seed, folder, objectives=wanted)
    return report


def said(bench: Workbench, configuration: Configuration, name: str) -> float:
    return last(bench, configuration, name).values[find_objective(name).name]


def measure(name: str, trained: Any) -> float:
    measuring = find_objective(name).measure
    assert measuring is not None
    return measuring(trained)


def test_only_what_is_asked_for_is_measured_and_nothing_changes(bench: Workbench) -> None:
    before = {name: tensor.clone() for name, tensor in bench.backbone.model.state_dict().items()}
    plain = last(bench, LORA)
    names = ("memory", "time", "latency", "flops", "density", "forgetting", "bytes")
    asked = last(bench, LORA, *names)
    assert set(asked.values) - set(plain.values) == {find_objective(name).name for name in names}
    assert all(asked.values[name] == plain.values[name] for name in ("score", "train_loss"))
    after = bench.backbone.model.state_dict()
    assert all(
        torch.equal(after[name], tensor) for name, tensor in before.items() if "classifier" not in name
    )
    assert not any(module._forward_pre_hooks for module in bench.backbone.model.modules())


@pytest.mark.parametrize(
    "modules",
    [
        [module("lora", 2, "q", "v", alpha=4.0)],
        [module("lora", 2, "q", init="pissa")],  # saved with twice the rank
        [module("sparse", 0.1, "up"), SERIAL],  # positions are saved too
        [module("vera", 3, "q"), module("ia3", 1, "k"), module("prefix", 3, "attention")],
    ],
)
def test_adapter_bytes_are_those_of_an_exported_folder(
    bench: Workbench, tmp_path: Path, modules: list[Module]
) -> None:
    configuration = Configuration.of(modules, 1e-3)
    found = last(bench, configuration, "bytes", folder=tmp_path).values["adapter_bytes"]
    saved = 0
    for file in tmp_path.rglob("*.safetensors"):
        for name, tensor in load_file(file).items():
            if not (name.startswith("head.") or ".classifier" in name):
                saved += tensor.numel() * tensor.element_size()
    assert found == saved > 0


def flops_by_hand(tokens: int, labels: int) -> int:
    linears = 4 * WIDTH * WIDTH + 2 * WIDTH * INNER
    attention = 2 * tokens * WIDTH  # of each token with all keys, and with all values
    return 2 * (LAYERS * tokens * (linears + attention) + WIDTH * WIDTH + WIDTH * labels)


def test_flops(bench: Workbench) -> None:
    lengths = sorted(bench.data["validation"].lengths.tolist(), reverse=True)
    tokens = lengths[len(lengths) // 2]
    bare = flops_by_hand(tokens, labels=2)  # pooler and classifier read the first token
    assert said(bench, NOTHING, "flops") == bare
    assert said(bench, LORA, "flops") == bare + LAYERS * 2 * tokens * 2 * (2 * 2 * WIDTH)  # not merged
    bottleneck = Configuration.of([SERIAL], 1e-3)
    assert said(bench, bottleneck, "flops") == bare + LAYERS * tokens * 2 * (2 * 4 * WIDTH)


class _Two(nn.Module):
    """Two maps with a ReLU between; the first does not learn unless it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8, bias=False).requires_grad_(False)
        self.second = nn.Linear(8, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.relu(self.first(x)))
        return y


def test_the_memory_of_a_known_graph() -> None:
    model, x = _Two(), torch.randn(5, 4)
    trained = SimpleNamespace(
        bench=SimpleNamespace(device=torch.device("cpu")),
        attached=SimpleNamespace(
            runner=model, trainable=lambda: [p for p in model.parameters() if p.requires_grad]
        ),
        loss=lambda: model(x).sum(),
    )
    first, second, hidden = 4 * 8, 8 * 2, 5 * 8
    # Frozen, the first map needs nothing for the way back: what the second one has read is all.
    found = measure("memory", trained)
    assert found == 4 * (first + second + hidden + 3 * second)
    model.first.requires_grad_(True)
    # Its input is kept now; the ReLU keeps its output, which the second map keeps too: one storage.
    found = measure("memory", trained)
    assert found == 4 * (first + second + hidden + 5 * 4 + 3 * (first + second))


def test_measuring_memory_keeps_none_of_the_graph(bench: Workbench) -> None:
    """What is saved for the way back holds on to the hook that saw it, and that to what it has noted."""

    def alive() -> int:
        gc.collect()
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    said(bench, LORA, "memory")
    before = alive()
    for _ in range(2):
        said(bench, LORA, "memory")
    assert alive() == before


def test_memory_is_more_the_lower_the_modules_are(bench: Workbench) -> None:
    low, high = (Configuration.of([module("lora", 2, "q", layers=(i,))], 1e-3) for i in (0, 1))
    assert said(bench, low, "memory") > said(bench, high, "memory") > said(bench, NOTHING, "memory")


def test_latency_is_a_median_of_counted_passes_on_one_thread(bench: Workbench) -> None:
    threads: list[int] = []
    torch.set_num_threads(2)
    hook = bench.backbone.model.register_forward_pre_hook(lambda *_: threads.append(torch.get_num_threads()))
    try:
        found = measure("latency", _trained(bench))
        assert found > 0
        assert threads == [1] * 35
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(1)


def _trained(bench: Workbench) -> Any:
    from autopeft.train.trained import Trained

    attached = SimpleNamespace(runner=bench.backbone.model, penalty=lambda: None, trainable=list)
    return Trained(bench, attached, NOTHING, bench.training, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("act", "threshold"), [("relu", 0.0), ("gelu", 0.01)])
def test_density(tmp_path: Path, small_bert: Path, act: str, threshold: float) -> None:
    bench = prepare(tmp_path, small_bert, hidden_act=act)
    seen: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    for name, part in bench.backbone.model.named_modules():
        if name.endswith("intermediate"):  # dense map and activation function
            part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        for inputs in bench.inputs("validation", 64):
            masks += [inputs["attention_mask"].bool()] * LAYERS
            bench.backbone.model(**inputs)
    kept = torch.cat([x[mask] for x, mask in zip(seen, masks, strict=True)])
    wanted = float((kept.abs() > threshold).double().mean())
    assert 0.2 < wanted < 1
    assert measure("density", _trained(bench)) == pytest.approx(wanted)
    assert find_objective("density").objection(bench.backbone, bench.task) == ""


def test_forgetting(bench: Workbench, small_bert: Path, tmp_path: Path) -> None:
    assert said(bench, NOTHING, "forgetting") == 0  # the head alone forgets nothing
    found = last(bench, LORA, "forgetting", folder=tmp_path).values["forgetting"]
    bare = AutoModelForSequenceClassification.from_pretrained(small_bert, num_labels=2).eval()
    adapted = load_adapter(
        AutoModelForSequenceClassification.from_pretrained(small_bert, num_labels=2), tmp_path
    )
    changes = []
    with torch.no_grad():
        for inputs in bench.inputs("validation", 64):
            states = [
                model(**inputs, output_hidden_states=True).hidden_states[-1] for model in (bare, adapted)
            ]
            for i, mask in enumerate(inputs["attention_mask"].bool()):
                for before, after in zip(states[0][i][mask], states[1][i][mask], strict=True):
                    changes.append(float((after - before).norm() / before.norm()))
    assert found == pytest.approx(statistics.fmean(changes), rel=1e-4)
    assert found > 1e-3


def test_tokens_before_the_input_do_not_disturb_it(bench: Workbench) -> None:
    prompt = Configuration.of([module("prompt_tuning", 3, "input", layers=(0,))], 1e-3)
    assert 0 < said(bench, prompt, "forgetting") < 2
    assert said(bench, prompt, "flops") > said(bench, NOTHING, "flops")
    assert 0 < said(bench, prompt, "density") < 1


def test_training_time_is_a_part_of_the_trial(bench: Workbench) -> None:
    values = last(bench, LORA, "time").values
    assert 0 < values["training_seconds"] <= values["seconds"]


def test_a_value_that_is_no_number_fails_the_trial(bench: Workbench) -> None:
    broken = Objective("joules", "minimize", log=True, measure=lambda trained: 0.0)
    with pytest.raises(TrialError, match=r"the objective 'joules' is 0.0, which is no finite number above 0"):
        list(bench.trial(NOTHING, 0, None, objectives=[broken]))
    own = Objective("rate", "maximize", function=lambda configuration: configuration.learning_rate)
    (*_, report) = bench.trial(LORA, 0, None, objectives=[own])
    assert report.values["rate"] == LORA.learning_rate


def test_the_reference_is_what_the_objectives_say_of_themselves(bench: Workbench) -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert page() == written
    (block,) = re.findall(r"```python\n(.*?)```", written, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)  # our own text
    (*_, report) = bench.trial(LORA, 0, None, objectives=[found["MODULES"]])
    assert report.values["modules"] == 1
    assert autopeft.Objective is Objective
