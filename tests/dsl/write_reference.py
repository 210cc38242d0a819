"""Rewrite what is generated in the language's reference: `python -m tests.dsl.write_reference`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from autopeft.dsl.allocators import ALLOCATORS, UNIFORM
from autopeft.dsl.explain import MEASURES, headline
from autopeft.dsl.finding import find_space
from autopeft.dsl.module_type import Field, ModuleType
from autopeft.dsl.schema import DOMAIN_FIELDS, DOMAINS, FIELDS, MODULE_FIELDS, shown_default
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of
from autopeft.registry import space_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "search-space.md"
_MOST_WORDS = 12

# Each form as it is written, and its further fields.
_FORMS = {
    "choice": ("`{choice: [0, 1, 4, hidden / 2]}`", ("priors",)),
    "integer": ("`{integer: [1, 64]}`", ("log", "step")),
    "float": ("`{float: [1.0e-4, 1.0e-1]}`", ("log", "step")),
    "tied": ("`{tied: rank}`", ("times",)),
    "per": ("`{per: [layer, site], of: {choice: [0, 1, 4]}}`", ("of",)),
}
_MEASURED = {"trainable": "trainable <= 0.5%", "adapter_bytes": "adapter_bytes <= 2MB", "sites": "sites >= 4"}


def _table(*titles: str, rows: Iterable[Iterable[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _code(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def file() -> str:
    """The fields of a space."""
    return _table("field", "what it is", rows=((f"`{name}`", about) for name, about in FIELDS.items()))


def module() -> str:
    """The fields that modules of all types have."""
    rows = ((f"`{name}`", about) for name, about in MODULE_FIELDS.items())
    return _table("field", "what it is", rows=rows)


def types() -> str:
    """Every type of module."""
    return _table(
        "`type`", "what it is", "size", "goes to", "further fields", rows=map(_type, MODULE_TYPES.values())
    )


def _type(known: ModuleType) -> tuple[str, str, str, str, str]:
    size = f"`{known.size}`" + (": a share" if known.size_kind == "fraction" else "") if known.size else ""
    place = {"linear": "linear maps", "bias": "linear maps and norms with a bias", "input": "the input"}
    sites = place.get(known.at) or _code(sites_of(known))
    if known.sites and known.sites != sites_of(known):
        sites += f", {_code(known.sites)} where left out"
    if known.name == "frozen":
        sites = ""
    fields = "; ".join(f"`{name}`: {_field(field)}" for name, field in known.fields.items())
    return f"`{known.name}`", known.about, size, sites, fields


def _field(field: Field) -> str:
    values = ""
    if field.kind == "word":
        more = len(field.words) - _MOST_WORDS
        listed = _code(field.words[:_MOST_WORDS])
        values = f", {listed} and {more} more" if more > 0 else f", one of {listed}"
    default = shown_default(field)
    return field.about + values + (f" ({default})" if default else " (must be given)")


def _further(names: Iterable[str]) -> str:
    told = {name: DOMAIN_FIELDS[name].rstrip(".") for name in names}
    return "; ".join(f"`{name}`: {about[0].lower()}{about[1:]}" for name, about in told.items())


def domains() -> str:
    """Every form of a domain."""
    rows = []
    for form, about in DOMAINS.items():
        written, further = _FORMS[form]
        rows.append((written, about, _further(further)))
    return _table("form", "what is decided", "further fields", rows=rows)


def selections() -> str:
    """Every way of naming layers or sites."""
    further = _further(("min", "max", "contiguous"))
    rows = [
        ("`all`", "Nothing: all that there are.", ""),
        ("`[q, v]`, `[0, 3, 5]`", "Nothing: exactly these.", ""),
        ("`{subset: all}`, `{subset: [q, v]}`", "On or off for each of them.", further),
    ]
    return _table("form", "what is decided", "further fields", rows=rows)


def sites() -> str:
    """The sites by what goes to them."""
    at: dict[tuple[str, ...], list[str]] = {}
    for known in MODULE_TYPES.values():
        if known.name != "frozen":
            at.setdefault(sites_of(known), []).append(known.name)
    return _table("sites", "types that go there", rows=((_code(s), _code(types)) for s, types in at.items()))


def training() -> str:
    """The fields of training."""
    rows = (
        (f"`{name}`", field.about, f"{field.low:g} to {field.high:g}") for name, field in TRAINING.items()
    )
    return _table("field", "what it is", "values", rows=rows)


def allocators() -> str:
    """Every allocator."""
    rows = (
        (
            f"`{known.name}`",
            known.about,
            _code(known.types) or ("" if known.name == UNIFORM else "all"),
            "; ".join(f"`{name}`: {_field(field)}" for name, field in known.fields.items()),
            known.source,
        )
        for known in ALLOCATORS.values()
    )
    return _table("`type`", "what it does", "deals out", "fields", "source", rows=rows)


def constraints() -> str:
    """What constraints are on."""
    return _table("such as", "on", rows=((f"`{_MEASURED[name]}`", about) for name, about in MEASURES.items()))


def shipped() -> str:
    """The spaces that ship."""
    found = ((name, find_space(name)) for name in space_names())
    rows = ((f"`{name}`", headline(space.text), space.source) for name, space in found)
    return _table("`--space`", "what may be chosen", "source", rows=rows)


_SECTIONS: tuple[Callable[[], str], ...] = (
    *(file, module, types, domains, selections),
    *(sites, training, allocators, constraints, shipped),
)


def filled(page: str) -> str:
    """The page with every section between `<!-- name -->` and `<!-- end -->` made anew.

    Raises:
        ValueError: A section has no place.
    """
    for section in _SECTIONS:
        pattern = re.compile(rf"(<!-- {section.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        made = f"\n{section()}\n\n"
        page, count = pattern.subn(lambda m, made=made: m[1] + made + m[2], page)
        if count != 1:
            raise ValueError(f"the page has {count} places for the section '{section.__name__}'")
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
