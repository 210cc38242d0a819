"""Which recipe keeps what: one table, from which come refusals, what `--lossy` writes, and the table in docs/recipes.md."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.backbones import Layout
from autopeft.dsl.own_types import OWN_TYPES
from autopeft.dsl.peft_types import PEFT_TYPES
from autopeft.errors import InputError
from autopeft.export.recipe import Kind, Recipe, canonical, cost, kinds, one_at, spots
from autopeft.nouns import OWN_HEAD, Module, rounded

Uses = Callable[[Recipe], str]
Nearest = Callable[[Recipe, Layout], tuple[Recipe, str]]


@dataclass(frozen=True)
class Capability:
    """Something that a configuration may say and that not every format can.

    Attributes:
        about: What it is: a row of the table.
        uses: What of a recipe says it; empty where nothing does.
        nearest: The nearest recipe that does not, and what that is, in words; None where there is none.
        whole: Whether the nearest is to leave out a whole kind of module.
        of: Capabilities that it is a part of: where a format has not all of them, it goes with them.
    """

    about: str
    uses: Uses
    nearest: Nearest | None = None
    whole: bool = False
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """What a format does not keep of a recipe.

    Attributes:
        name: Of the capability.
        about: The capability in words.
        what: What of the recipe needs it.
        instead: What is written instead; empty where nothing is.
    """

    name: str
    about: str
    what: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.about} ({self.what})" + (f": {self.instead}" if self.instead else "")


# What of a recipe needs a capability -----------------------------------------------------------------------------------


def _places(modules: Sequence[Module]) -> str:
    n = sum(len(spots(module)) for module in modules)
    return f"{', '.join(sorted({m.type for m in modules}))} at {n} place{'s' if n > 1 else ''}" if n else ""


def _those(wanted: Callable[[Module], bool]) -> Uses:
    return lambda recipe: _places([module for module in recipe.modules if wanted(module)])


def _without(wanted: Callable[[Module], bool]) -> Nearest:
    def drop(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
        kept = tuple(module for module in recipe.modules if not wanted(module))
        return dataclasses.replace(recipe, modules=kept), "left out"

    return drop


def _family(wanted: Callable[[Module], bool], about: str) -> Capability:
    return Capability(about, _those(wanted), _without(wanted), whole=True)


def _set(wanted: Callable[[Module], bool], about: str, name: str, value: Any) -> Capability:
    """An option of LoRA that is set to what every format has."""

    def plain(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
        modules = tuple(_with(m, {name: value}) if wanted(m) else m for m in recipe.modules)
        return dataclasses.replace(
            recipe, modules=canonical(modules, layout)
        ), f"{name}: {str(value).lower()}"

    return Capability(about, _those(wanted), plain, of=("lora",))


def _with(module: Module, options: dict[str, Any], size: float | None = None) -> Module:
    changed = tuple(sorted({**dict(module.options), **options}.items()))
    return dataclasses.replace(module, options=changed, size=module.size if size is None else size)


def _type(*names: str) -> Callable[[Module], bool]:
    return lambda module: module.type in names


def _bottleneck(position: str) -> Callable[[Module], bool]:
    return lambda module: module.type == "bottleneck" and module.option("position") == position


def _init(*names: str) -> Callable[[Module], bool]:
    return lambda module: module.type == "lora" and module.option("init") in names


def _lora(name: str) -> Callable[[Module], bool]:
    return lambda module: module.type == "lora" and bool(module.option(name))


_SCORED = "sensitivity"
_PROMPTS = ("prompt_tuning", "prefix_tuning")
_OTHERS = tuple(name for name in PEFT_TYPES if name not in ("lora", "adalora", *_PROMPTS))
POST_NORM, PRE_NORM = ("bert", "roberta"), ("gpt2", "llama")
"""Architectures on which AdapterHub's adapters were held against ours. In the second what goes into a block is normed first, and its
parallel adapter reads what stands before the norm."""
_HELD = (*POST_NORM, *PRE_NORM)


# Nearest recipes -------------------------------------------------------------------------------------------------------


def _unscaled(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    modules = [
        _with(m, {"rslora": False, "alpha": rounded(m.option("alpha") * math.sqrt(m.size))})
        if _lora("rslora")(m)
        else m
        for m in recipe.modules
    ]
    changed = dataclasses.replace(recipe, modules=canonical(modules, layout))
    return changed, "the same scaling by alpha"


def _larger_of_both(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    kept: dict[tuple[int, str], Module] = {}
    for module in recipe.modules:
        for spot in spots(module) if module.type == "bottleneck" else ():
            here = one_at(module.type, module.size, spot, dict(module.options))
            if spot not in kept or cost(here, layout) > cost(kept[spot], layout):
                kept[spot] = here
    others = [module for module in recipe.modules if module.type != "bottleneck"]
    changed = dataclasses.replace(recipe, modules=canonical([*others, *kept.values()], layout))
    return changed, "the larger one at each place"


def _doubled(recipe: Recipe) -> str:
    taken = [spot for m in recipe.modules if m.type == "bottleneck" for spot in spots(m)]
    twice = {spot for spot in taken if taken.count(spot) > 1}
    return f"at {len(twice)} place{'s' if len(twice) > 1 else ''}" if twice else ""


def _adapters(recipe: Recipe) -> dict[Kind, list[Module]]:
    """peft's adapters, and each kind of our own."""
    found: dict[Kind, list[Module]] = {}
    for kind, modules in kinds(recipe.modules).items():
        own = kind[0] in OWN_TYPES
        position = tuple(option for option in kind[1] if option[0] == "position")
        found.setdefault((kind[0], position) if own else kind, []).extend(modules)
    return found


def _stacked(modules: Sequence[Module]) -> bool:
    taken = [spot for module in modules for spot in spots(module)]
    return len(taken) > len(set(taken))


def _several(recipe: Recipe) -> str:
    found = _adapters(recipe)
    stacked = any(_stacked(modules) for kind, modules in found.items() if kind[0] in PEFT_TYPES)
    if len(found) < 2 and not stacked:
        return ""
    names = [f"{dict(kind[1]).get('position', '')} {kind[0]}".strip() for kind in found]
    return f"{' and '.join(sorted(names))}{', twice at a place' if stacked else ''}"


def _largest(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    found = _adapters(recipe)
    kept = max(found.values(), key=lambda modules: sum(cost(m, layout) for m in modules))
    alone: dict[tuple[int, str], Module] = {}
    for module in kept:
        for spot in spots(module):
            alone.setdefault(spot, one_at(module.type, module.size, spot, dict(module.options)))
    kept = list(canonical(alone.values(), layout))
    return dataclasses.replace(
        recipe, modules=tuple(kept)
    ), f"the one with the most parameters, {kept[0].type}"


def _loras(recipe: Recipe) -> list[Module]:
    return [module for module in recipe.modules if module.type == "lora"]


def _ranks(recipe: Recipe) -> str:
    # Whole adapters are told apart by `together`: here only what may differ inside of one.
    differing = [ms for ms in kinds(recipe.modules).values() if len({_numbers(m) for m in ms}) > 1]
    told = sorted({f"{m.type} {m.size:g}" for modules in differing for m in modules if m.type in PEFT_TYPES})
    return ", ".join(told)


def _numbers(module: Module) -> tuple[Any, ...]:
    if module.type in OWN_TYPES:
        return ()
    return (module.size, *(v for name, v in module.options if name not in ("sites", "feedforward")))


def _uniform(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    """One rank at the same places, of about as many parameters; one alpha, of the mean scaling."""
    modules = _loras(recipe)
    paid = [(m, cost(m, layout) / m.size) for m in modules]  # what a rank costs
    whole = sum(price for _, price in paid)
    rank = max(1, round(sum(m.size * price for m, price in paid) / whole))
    root = any(_lora("rslora")(m) for m in modules)
    scale = {id(m): m.option("alpha") / (math.sqrt(m.size) if root else m.size) for m in modules}
    mean = sum(scale[id(m)] * price for m, price in paid) / whole
    alpha = rounded(mean * (math.sqrt(rank) if root else rank))
    same = [_with(m, {"alpha": alpha}, rank) for m in modules]
    others = [m for m in recipe.modules if m.type != "lora"]
    changed = dataclasses.replace(recipe, modules=canonical([*others, *same], layout))
    return changed, f"rank {rank} and alpha {alpha:g} everywhere"


def _broken_alpha(module: Module) -> bool:
    return module.type == "lora" and not float(module.option("alpha")).is_integer()


def _whole_alpha(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    modules = [
        _with(m, {"alpha": max(1, round(m.option("alpha")))}) if _broken_alpha(m) else m
        for m in recipe.modules
    ]
    told = sorted({f"{m.option('alpha'):g}" for m in modules if m.type == "lora"})
    changed = dataclasses.replace(recipe, modules=canonical(modules, layout))
    return changed, f"alpha {', '.join(told)}"


def _field(name: str, value: Any, instead: str) -> Nearest:
    return lambda recipe, layout: (dataclasses.replace(recipe, **{name: value}), instead)


def _in_float32(recipe: Recipe, layout: Layout) -> tuple[Recipe, str]:
    schedule = dataclasses.replace(recipe.schedule, bfloat16=False)
    return dataclasses.replace(recipe, schedule=schedule, weights="float32"), "float32"


def _as_it_is(instead: str) -> Nearest:
    return lambda recipe, layout: (recipe, instead)


# The table -------------------------------------------------------------------------------------------------------------

CAPABILITIES: dict[str, Capability] = {
    "lora": _family(_type("lora"), "LoRA"),
    "adalora": _family(_type("adalora"), "AdaLoRA"),
    "others": _family(_type(*_OTHERS), "further types that peft has (IA3, VeRA, OFT, ...)"),
    "prompts": _family(_type(*_PROMPTS), "prompt and prefix tuning, as peft has them"),
    "serial": _family(_bottleneck("serial"), "serial bottlenecks"),
    "parallel": _family(_bottleneck("parallel"), "parallel bottlenecks"),
    "behind_norm": Capability(
        f"parallel bottlenecks that read what a norm has made ({', '.join(PRE_NORM)})",
        lambda recipe: _those(_bottleneck("parallel"))(recipe) if recipe.architecture in PRE_NORM else "",
        _as_it_is("they read what stands before the norm"),
        of=("parallel",),
    ),
    "both": Capability(
        "a serial and a parallel bottleneck at one place", _doubled, _larger_of_both, of=("serial", "parallel")
    ),
    "prefix": _family(_type("prefix"), "autopeft's prefix for each layer"),
    "masks": _family(_type("sparse"), "single entries of weights, by a mask"),
    "scored": Capability(
        "entries that were chosen by scores",
        _those(lambda m: m.type == "sparse" and m.option("mask") == _SCORED),
        _without(lambda m: m.type == "sparse" and m.option("mask") == _SCORED),
        of=("masks",),
    ),
    "bias": _family(_type("bias"), "biases"),
    "pissa": _set(_init("pissa"), "LoRA's init pissa", "init", "default"),
    "inits": _set(_init("gaussian", "olora", "orthogonal"), "LoRA's inits gaussian, olora, orthogonal", "init", "default"),
    "data_inits": _set(_init("eva", "corda"), "LoRA's inits that look at data: eva, corda", "init", "default"),
    "loftq": _set(_init("loftq"), "LoRA's init loftq", "init", "default"),
    "dora": _set(_lora("dora"), "DoRA", "dora", False),
    "rslora": Capability("rsLoRA", _those(_lora("rslora")), _unscaled, of=("lora",)),
    "together": Capability("several kinds of module at once", _several, _largest),
    "ranks": Capability("ranks or alphas that differ from place to place", _ranks, _uniform, of=("lora",)),
    "alpha": Capability("an alpha that is not whole", _those(_broken_alpha), _whole_alpha, of=("lora",)),
    "allocator": Capability(
        "an allocator's part in every step",
        lambda recipe: str(dict(recipe.allocator).get("type", "")),
        _field("allocator", (), "the modules are trained without it"),
    ),
    "none": Capability("no modules: the head alone", lambda recipe: "" if recipe.modules else "none"),
    "causal_lm": Capability(
        "causal language models", lambda recipe: "causal-lm" if recipe.problem == "causal-lm" else ""
    ),
    "new_head": Capability(
        "texts with a new head: classes, values, tags",
        lambda recipe: recipe.problem if recipe.problem not in OWN_HEAD and recipe.modality == "text" else "",
    ),
    "images": Capability(
        "images with a new head", lambda recipe: recipe.problem if recipe.modality == "image" else ""
    ),
    "seq2seq": Capability(
        "one text from another (seq2seq)", lambda recipe: "seq2seq" if recipe.problem == "seq2seq" else ""
    ),
    "architecture": Capability(
        f"backbones other than {', '.join(_HELD)}",
        lambda recipe: "" if recipe.architecture in _HELD else recipe.architecture,
    ),
    "overrides": Capability(
        "a changed model configuration", lambda recipe: ", ".join(f"{n}={v}" for n, v in recipe.overrides)
    ),
    "dropout": Capability(
        "training without the backbone's own dropout",
        lambda recipe: ", ".join(recipe.dropout),
        _field("dropout", (), "with the backbone's dropout"),
    ),
    "quantize": Capability(
        "a quantised backbone",
        lambda recipe: recipe.quantize or "",
        _field("quantize", None, "not quantised"),
    ),
    "bfloat16": Capability(
        "frozen weights in bfloat16",
        lambda recipe: recipe.weights if recipe.weights != "float32" else "",
        _in_float32,
    ),
    "autocast": Capability(
        "products in bfloat16 beside weights in float32 (trials on a GPU)",
        lambda recipe: "bfloat16" if recipe.schedule.bfloat16 and recipe.weights == "float32" else "",
        _in_float32,
    ),
    "stopped": Capability(
        "an end before the last epoch (--patience)",
        lambda recipe: (
            f"after {recipe.trained_epochs} of {recipe.schedule.epochs} epochs" if recipe.trained_epochs else ""
        ),
        _field("trained_epochs", None, "all epochs"),
    ),
    "linear": Capability(
        "the linear schedule, with its warm-up",
        lambda recipe: f"warm-up in {recipe.schedule.warmup_steps} of {recipe.schedule.steps} steps",
        _as_it_is("cosine, warm-up in a tenth of the steps"),
    ),
    "data": Capability(
        "the study's own data",
        lambda recipe: recipe.problem if recipe.data else "",
        _field("data", False, "MetaMathQA, and GSM8K for the score"),
    ),
}  # fmt: skip
"""By name, in the order in which `--lossy` goes through them: kinds of module first, then what they say, then their training."""

_TASKS = frozenset({"causal_lm", "new_head", "images", "seq2seq"})
_LORA = frozenset({"lora", "dora", "rslora", "architecture"})

KEEPS: dict[str, frozenset[str]] = {
    "peft": frozenset(CAPABILITIES),
    "script": frozenset(CAPABILITIES) - {"allocator", "scored"},
    "autopeft": frozenset(CAPABILITIES),  # which trains the configuration again, by the same code
    "trl": _LORA | {"causal_lm", "overrides", "dropout", "bfloat16", "autocast", "linear", "data"},
    "axolotl": _LORA | {"ranks", "pissa", "inits", "causal_lm", "bfloat16", "linear", "data"},
    "llamafactory": _LORA | {"pissa", "causal_lm", "bfloat16", "linear", "data"},
    "adapters": frozenset(
        {
            *("serial", "parallel", "together", "causal_lm", "new_head", "overrides", "dropout", "autocast"),
            *("linear", "data"),
        }
    ),
    "peft-comparison": _LORA
    | {"adalora", "others", "prompts", "pissa", "inits", "ranks", "alpha", "causal_lm", "bfloat16"},
}
"""What each format keeps."""

WHOLE = ("peft", "script", "autopeft")
"""Formats that are written whole or not at all; what they do not keep they say themselves."""


def lost(target: str, recipe: Recipe) -> list[Loss]:
    """What a format does not keep of a recipe, in the order of the table."""
    found = ((name, one, one.uses(recipe)) for name, one in _lacking(target).items())
    return [Loss(name, one.about, what) for name, one, what in found if what]


def _lacking(target: str) -> dict[str, Capability]:
    """What a format has not, apart from what goes with something else that it has not."""
    kept = KEEPS[target]
    return {name: one for name, one in CAPABILITIES.items() if name not in kept and kept.issuperset(one.of)}


def keepers(names: Sequence[str]) -> list[str]:
    """The formats that keep all of some capabilities."""
    return [target for target, kept in KEEPS.items() if kept.issuperset(names)]


def fit(target: str, recipe: Recipe, layout: Layout, *, lossy: bool) -> tuple[Recipe, list[Loss]]:
    """The recipe that a format can say.

    Args:
        target: The format.
        recipe: What there is to say.
        layout: The backbone's.
        lossy: Whether what the format does not keep may be lost.

    Returns:
        The recipe itself, or the nearest one with what was lost.

    Raises:
        InputError: Something would be lost, and it may not be, or nothing near it can be said.
    """
    missing = lost(target, recipe)
    if any(CAPABILITIES[loss.name].nearest is None for loss in missing):
        raise _refused(target, missing)
    told = []
    for name, one in _lacking(
        target
    ).items():  # what comes of one may need the next: a mean alpha need not be whole
        what = one.uses(recipe)
        if what and one.nearest is not None:
            had_modules = bool(recipe.modules)
            recipe, instead = one.nearest(recipe, layout)
            told.append(Loss(name, one.about, what, instead))
            if had_modules and not recipe.modules:
                raise _refused(target, missing, "Nothing would be left without it. ")
    if told and not lossy:
        raise _refused(target, missing)
    return recipe, told


def _refused(target: str, missing: Sequence[Loss], why: str = "") -> InputError:
    lines = [f"{target} would lose of this trial:"]
    for loss in missing:
        lines.append(f"  - {loss}; kept by {', '.join(keepers([loss.name]))}")
    whole = f"{why}All of it is kept by --to {', --to '.join(keepers([loss.name for loss in missing]))}."
    hopeless = [loss for loss in missing if CAPABILITIES[loss.name].nearest is None]
    if hopeless:
        near = (
            f" There is nothing near {hopeless[0].about} that {target} could say, so --lossy does not help."
        )
    elif why:
        near = ""
    else:
        near = " With --lossy the nearest is written, and what was lost is said in it."
    return InputError("\n".join([*lines, whole + near]))


def cell(target: str, name: str) -> str:
    """What a format does with a capability, in a word of the table."""
    one = CAPABILITIES[name]
    if name in KEEPS[target]:
        return "yes"
    if one.nearest is None or target in WHOLE:
        return "no"
    return "left out" if one.whole or not KEEPS[target].issuperset(one.of) else "nearest"


def table() -> str:
    """The whole table in Markdown."""
    head = "| | " + " | ".join(f"`{target}`" for target in KEEPS) + " |"
    lines = [head, "| --- " * (len(KEEPS) + 1) + "|"]
    for name, one in CAPABILITIES.items():
        lines.append(f"| {one.about} | " + " | ".join(cell(target, name) for target in KEEPS) + " |")
    return "\n".join(lines) + "\n"
