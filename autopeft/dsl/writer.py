"""A space as YAML text: what `read_space` reads back to an equal tree."""

from typing import TYPE_CHECKING, Any

import yaml

from autopeft.dsl import tree
from autopeft.dsl.document import is_text

if TYPE_CHECKING:
    from autopeft.dsl.space import Space

_WIDTH = 110


def write_space(space: "Space") -> str:
    """The YAML text of a space, without comments; what it extended is written out.

    >>> print(write_space(Space("tiny", {"a": ModuleSpec("ia3", sites=["v"])}, {"learning_rate": Value(0.01)})))
    ... # doctest: +SKIP
    name: tiny
    modules:
      a: {type: ia3, sites: [v]}
    training: {learning_rate: 0.01}
    """
    content: dict[str, Any] = {"name": space.name}
    if space.source:
        content["source"] = space.source
    if space.layers != tree.Members():
        content["layers"] = _selection(space.layers)
    if space.decisions:
        content["decisions"] = {name: _domain(domain) for name, domain in space.decisions.items()}
    else:
        content["modules"] = {name: _entry(entry) for name, entry in space.modules.items()}
        content["training"] = {name: _domain(domain) for name, domain in space.training.items()}
    if space.allocation is not None:
        content["allocation"] = _allocation(space.allocation)
    if space.constraints:
        content["constraints"] = [f"{c.measure} {c.test} {c.value}" for c in space.constraints]
    text: str = yaml.dump(
        content, Dumper=_Dumper, default_flow_style=None, sort_keys=False, width=_WIDTH, allow_unicode=True
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Never an alias, which the language has none of; a text between quotes that it would read as a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        if is_text(data):
            return super().represent_str(data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="'")


_Dumper.add_representer(str, _Dumper.represent_str)


def _entry(entry: tree.Entry) -> dict[str, Any]:
    if isinstance(entry, tree.ModuleSpec):
        written: dict[str, Any] = {"type": entry.type}
        if entry.sites is not None:
            written["sites"] = _selection(entry.sites)
        if entry.layers is not None:
            written["layers"] = _selection(entry.layers)
        written |= {name: _domain(domain) for name, domain in entry.fields.items()}
    elif isinstance(entry, tree.SubSpace):
        written = {"modules": {name: _entry(child) for name, child in entry.modules.items()}}
    else:
        written = {"one_of": [_entry(option) for option in entry.options]}
        if entry.priors:
            written["priors"] = list(entry.priors)
    return written | _when(entry.when)


def _allocation(allocation: tree.Allocation) -> dict[str, Any]:
    options = [
        {"type": one.type, **{name: _domain(domain) for name, domain in one.fields.items()}}
        for one in allocation.options
    ]
    if len(options) == 1 and not allocation.priors:
        return options[0]
    return {"one_of": options} | ({"priors": list(allocation.priors)} if allocation.priors else {})


def _when(conditions: tuple[tree.Condition, ...]) -> dict[str, Any]:
    if not conditions:
        return {}
    return {"when": {condition.path: _test(condition) for condition in conditions}}


def _test(condition: tree.Condition) -> Any:
    if condition.test != "in":
        return f"{condition.test} {condition.values[0]}"
    return condition.values[0] if len(condition.values) == 1 else list(condition.values)


def _domain(domain: tree.Domain) -> Any:
    if isinstance(domain, tree.Value):
        return {"choice": [domain.value]} | _when(domain.when) if domain.when else domain.value
    if isinstance(domain, tree.Tied):
        return {"tied": domain.to} | ({"times": domain.times} if domain.times != 1 else {})
    if isinstance(domain, tree.Per):
        over = domain.over[0] if len(domain.over) == 1 else list(domain.over)
        return {"per": over, "of": _domain(domain.of)}
    if isinstance(domain, tree.Choice):
        written: dict[str, Any] = {"choice": list(domain.values)}
        if domain.priors:
            written["priors"] = list(domain.priors)
    else:
        name = "integer" if isinstance(domain, tree.Integer) else "float"
        written = {name: [domain.low, domain.high]}
        if domain.log:
            written["log"] = True
        if domain.step not in (None, 1) or (isinstance(domain, tree.Float) and domain.step is not None):
            written["step"] = domain.step
    return written | _when(domain.when)


def _selection(selection: tree.Selection) -> Any:
    of: Any = "all" if selection.of is None else list(selection.of)
    if isinstance(selection, tree.Members):
        return of
    written: dict[str, Any] = {"subset": of}
    if selection.min != 1:
        written["min"] = selection.min
    if selection.max is not None:
        written["max"] = selection.max
    if selection.contiguous:
        written["contiguous"] = True
    return written
