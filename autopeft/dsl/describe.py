"""Configurations in a line, for people."""

from collections.abc import Sequence
from typing import Any

from autopeft.dsl.types import MODULE_TYPES, options_of
from autopeft.nouns import SITES, Configuration, Module

_MOST_LISTED = 4  # sizes of one kind of module that are told one by one
_RUN = 4  # consecutive layers that are written as 0-3

Kind = tuple[str, tuple[str, ...]]


def describe(configuration: Configuration, layers: int) -> str:
    """One line for people about a configuration on a backbone with so many layers.

    Options and sites are told where they are not those that the type has by itself.

    >>> lora = Module("lora", 4, (0,), (("alpha", 8), ("dora", True), ("sites", ("q", "v"))))
    >>> describe(Configuration.of([Module("prefix", 3, (0, 1), (("sites", ("attention",)),)), lora], 0.003), 2)
    'lora 4 on q,v (dora) in layer 0; prefix 3 in all layers, lr 0.003'
    """
    published = [
        dict(m.options)["experiment"] for m in configuration.modules if "experiment" in dict(m.options)
    ]
    if published:  # others' results are known by the names that they gave them; see `autopeft.published`
        return f"{', '.join(published)}, lr {configuration.learning_rate:g}"
    kinds: dict[Kind, list[Module]] = {}
    for module in configuration.modules:
        kinds.setdefault((_name(module), _options(module)), []).append(module)
    together: dict[str, list[str]] = {}  # what stands alone in its kind, by its layers
    alone = []
    for (name, options), modules in kinds.items():
        if len(modules) == 1:
            what = _joined(name, _size(modules[0]), _on(modules[0]), _brackets(options))
            together.setdefault(_where(modules[0], layers), []).append(what)
        else:
            alone.append(_several(name, options, modules, layers))
    groups = [_joined(" + ".join(names), where) for where, names in together.items()]
    training = [
        f"lr {configuration.learning_rate:g}",
        *(f"{name} {v:g}" for name, v in configuration.training),
    ]
    allocator = dict(configuration.allocation)
    if allocator:
        kind = allocator.pop("type")
        fields = [f"{name} {_shown(value)}" for name, value in allocator.items()]
        training.insert(0, _joined(f"dealt out by {kind}", _brackets(fields)))
    return ", ".join(["; ".join([*groups, *alone]) or "no modules", *training])


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(module: Module) -> str:
    # Serial and parallel bottlenecks are known by these names.
    return str(dict(module.options).get("position", module.type))


def _options(module: Module) -> tuple[str, ...]:
    known, told = MODULE_TYPES[module.type], []
    for name, value in options_of(module).items():
        field = known.fields.get(name)
        if field is None or name == "position":
            continue
        default = field.default if field.times_size is None else module.size * field.times_size
        if value == default:
            continue
        if isinstance(value, bool):
            told.append(name if value else f"no {name}")
        elif isinstance(value, str):
            told.append(value)
        else:
            told.append(f"{name} {value:g}")
    return tuple(told)


def _brackets(options: Sequence[str]) -> str:
    return f"({', '.join(options)})" if options else ""


def _size(module: Module) -> str:
    return f"{module.size:g}" if MODULE_TYPES[module.type].size else ""


def _on(module: Module) -> str:
    own = MODULE_TYPES[module.type].sites
    return f"on {','.join(module.sites)}" if module.sites != own else ""


def _where(module: Module, layers: int) -> str:
    return "" if MODULE_TYPES[module.type].at == "input" else _layers(module.layers, layers)


def _layers(where: Sequence[int], layers: int) -> str:
    if len(where) == layers:
        return "in all layers"
    runs: list[list[int]] = []
    for layer in where:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    told = [f"{run[0]}-{run[-1]}" if len(run) >= _RUN else " ".join(map(str, run)) for run in runs]
    return f"in layer{'s' if len(where) > 1 else ''} {' '.join(told)}"


def _several(name: str, options: Sequence[str], modules: Sequence[Module], layers: int) -> str:
    """Modules of one kind whose sizes or sites differ, such as LoRA with a rank for each layer."""
    modules = sorted(modules, key=lambda m: (m.layers, m.sites))
    sites, where = {_on(m) for m in modules}, {_where(m, layers) for m in modules}
    head = _joined(name, *(sites if len(sites) == 1 else ()), _brackets(options))
    if len(modules) > _MOST_LISTED:
        taken = {site for m in modules for site in m.sites}
        listed = sorted(taken, key=lambda s: SITES.index(s) if s in SITES else len(SITES))
        on = f"on {','.join(listed)}" if len(sites) > 1 else ""
        least, most = min(m.size for m in modules), max(m.size for m in modules)
        sizes = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        return _joined(f"{head}:", sizes, on, _layers(sorted({i for m in modules for i in m.layers}), layers))
    parts = [
        _joined(
            _size(m),
            *((_on(m),) if len(sites) > 1 else ()),
            *((_where(m, layers),) if len(where) > 1 else ()),
        )
        for m in modules
    ]
    return _joined(f"{head}:", ", ".join(parts), *(where if len(where) == 1 else ()))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
