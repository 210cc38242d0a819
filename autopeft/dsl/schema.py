"""The grammar as a JSON Schema (draft 2020-12), from which editors complete, explain and check a space's file.

It is as strict as a schema can be. What needs more than a look at one place (references between decisions, modules that
cannot be together, a backbone) is the reader's alone.
"""

from collections.abc import Sequence
from typing import Any

from autopeft.dsl.allocators import ALLOCATORS
from autopeft.dsl.explain import MEASURES
from autopeft.dsl.expression import NAMES
from autopeft.dsl.module_type import Field, ModuleType
from autopeft.dsl.plain_reader import ANY, DECISION_NAME
from autopeft.dsl.reader import NAME, allowed_fields, required_fields
from autopeft.dsl.types import MODULE_TYPES, TRAINING, sites_of, size_field

Schema = dict[str, Any]

FIELDS = {
    "name": "Name of the space: lower-case letters, digits, '-' and '_'.",
    "source": "Where the space is from, for people.",
    "extends": "Another space, by the name of a shipped one or by a file beside this one. What is said here is joined to "
    "it field by field (`modules`, a module of the same type, `decisions`, `training`) or replaces it (everything else); "
    "null takes a part away.",
    "layers": "Which layers carry modules, shared by all modules that do not say otherwise; all of them where it is "
    "left out.",
    "modules": "What may be put on, each by a name of your own; all of them act together.",
    "training": "How a configuration is trained: values, choices, integers or floats.",
    "allocation": "What deals the modules' parameters out by the data, or one_of several; modules stay as they are where it "
    "is left out.",
    "constraints": "Bounds on what is known before training; the command line's budget joins them.",
    "decisions": "Instead of modules, training, allocation and constraints: plain decisions by names of your own, for a search of "
    "something else, by `autopeft.Optimizer`.",
}
"""What a space's fields are."""

MODULE_FIELDS = {
    "type": "Type of the module.",
    "sites": "Where in a layer: `all` that there are, a list, or a subset of either.",
    "layers": "Which layers carry this module, instead of the space's.",
    "when": "Conditions under which it is there: a field of the same module, `module.field`, or `module.type` of a "
    "one_of, with the values that it may have, or a comparison such as '>= 8'.",
}
"""What a module's fields are that are not its type's own."""

ENTRIES = {
    "one_of": "Alternatives; which one is taken is a decision.",
    "modules": "Several modules that act together, as one alternative.",
}
"""What may stand in a module's place."""

DOMAINS = {
    "choice": "One of the values.",
    "integer": "A whole number from the first to the second, both included.",
    "float": "A number from the first to the second.",
    "tied": "No decision: another field, by its path, times a factor.",
    "per": "A decision of its own for each layer, for each site, or for each site of each layer.",
}
"""What the forms of a domain decide."""

DOMAIN_FIELDS = {
    "priors": "Weights of the values, as many as there are: samplers draw by them.",
    "log": "Whether it is even on a log scale.",
    "step": "Distance from each value to the next, from the first on.",
    "times": "The factor; 1 where it is left out.",
    "of": "What is decided for each.",
    "subset": "What may be chosen.",
    "min": "At least so many; 1 where it is left out.",
    "max": "At most so many.",
    "contiguous": "Whether they must be neighbours.",
}
"""What the further fields of a domain are."""

_EXPRESSION = {
    "type": "string",
    "maxLength": 100,
    "pattern": rf"^(?!.*\*\*)(?=.*({'|'.join(NAMES)}))({'|'.join(NAMES)}|[0-9.][eE]|[-+*/().0-9 ])+$",
    "description": f"A number made of the backbone's {', '.join(NAMES)}, such as hidden / 2.",
}
_PRIORS = {
    "description": DOMAIN_FIELDS["priors"],
    "type": "array",
    "minItems": 1,
    "items": {"type": "number", "minimum": 0},
}
_AXIS = {"enum": ["layer", "site"]}
_AXES = {
    "anyOf": [_AXIS, {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": True, "items": _AXIS}]
}
_NULL = {"type": "null", "description": "Takes away what the extended space has here."}


def json_schema() -> Schema:
    """The JSON Schema of a search space's file."""
    shared: Schema = {}
    types = {f"type.{known.name}": _type(known, shared) for known in MODULE_TYPES.values()}
    training = {
        name: _field(f, _about(f), shared, name, refused=("tied", "per")) for name, f in TRAINING.items()
    }
    allocators = {
        f"allocator.{known.name}": _object(
            {
                "type": {"const": known.name, "description": known.about},
                **{
                    name: _field(f, _about(f), shared, f"{known.name}.{name}", ("tied", "per"))
                    for name, f in known.fields.items()
                },
            },
            ("type",),
            known.about,
        )
        for known in ALLOCATORS.values()
    }
    definitions = {
        "modules": _named(_reference("entry"), FIELDS["modules"]),
        "entry": {
            "description": "A module, or one_of several.",
            "type": "object",
            "if": {"required": ["one_of"]},
            "then": _reference("one_of"),
            "else": _reference("module"),
        },
        "one_of": _one_of(),
        "module": _module(),
        "change": _change(),
        **types,
        **allocators,
        "allocation": _allocation(),
        "training": _object(training, ("learning_rate",), FIELDS["training"]),
        "decisions": _named(_reference("decision"), FIELDS["decisions"], DECISION_NAME.pattern),
        **_decisions(),
        "when": _when(),
        "layers": {"anyOf": _selection({"type": "integer", "minimum": 0})},
        **shared,
        "priors": _PRIORS,
        "axes": _AXES,
        "expression": _EXPRESSION,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autopeft search space",
        "description": "What may be chosen: adapter types, sizes, places, training. The reference is docs/search-space.md.",
        "type": "object",
        "required": ["name"],
        "properties": _fields(),
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": {
            "properties": {
                "modules": _named(_reference("change"), FIELDS["modules"]),
                "training": _object({name: {"anyOf": [f, _NULL]} for name, f in training.items()}),
                "decisions": _named(
                    {"anyOf": [_reference("decision"), _NULL]}, FIELDS["decisions"], DECISION_NAME.pattern
                ),
            }
        },
        "else": {
            "if": {"required": ["decisions"]},
            "then": {
                "properties": {
                    "decisions": _reference("decisions"),
                    "source": {"not": {"type": "null"}},
                    **dict.fromkeys(("layers", "modules", "training", "allocation", "constraints"), False),
                }
            },
            "else": {
                "required": ["modules", "training"],
                "properties": {
                    "modules": _reference("modules"),
                    "training": _reference("training"),
                    **{
                        name: {"not": {"type": "null"}}
                        for name in ("source", "layers", "allocation", "constraints")
                    },
                },
            },
        },
        "$defs": definitions,
    }


# -- the root ------------------------------------------------------------------------------------------------------------


def _fields() -> Schema:
    constraint = rf"^\s*({'|'.join(MEASURES)})\s*(<=|>=)\s*\S+(\s+\S+)?\s*$"
    about = "; ".join(f"{name}: {words}" for name, words in MEASURES.items())
    fields: Schema = {
        "name": {"type": "string", "pattern": NAME.pattern},
        "source": {"type": ["string", "number", "boolean", "null"]},
        "extends": {"type": "string"},
        "layers": {"anyOf": [_reference("layers"), _NULL]},
        "modules": {"type": "object"},
        "training": {"type": "object"},
        "constraints": {
            "anyOf": [
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "string",
                        "pattern": constraint,
                        "description": f"A comparison with <= or >=, such as trainable <= 0.5%. {about}.",
                    },
                },
                _NULL,
            ]
        },
        "allocation": {"anyOf": [_reference("allocation"), _NULL]},
        "decisions": {"type": "object"},
    }
    return {name: {"description": FIELDS[name], **fields[name]} for name in FIELDS}


def _named(values: Schema, about: str, names: str = NAME.pattern) -> Schema:
    return {
        "description": about,
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": names},
        "additionalProperties": values,
    }


def _object(properties: Schema, required: tuple[str, ...] = (), about: str = "") -> Schema:
    return {
        **({"description": about} if about else {}),
        "type": "object",
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


# -- modules -------------------------------------------------------------------------------------------------------------


def _module() -> Schema:
    kinds = [{"const": known.name, "description": known.about} for known in MODULE_TYPES.values()]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"description": MODULE_FIELDS["type"], "anyOf": kinds}},
        "allOf": [
            {
                "if": {"required": ["type"], "properties": {"type": {"const": name}}},
                "then": _reference(f"type.{name}"),
            }
            for name in MODULE_TYPES
        ],
    }


def _type(known: ModuleType, shared: Schema) -> Schema:
    refused = ("per",) if known.alone else ()
    fields: Schema = {
        "type": {"const": known.name, "description": known.about},
        "sites": {"description": MODULE_FIELDS["sites"], "$ref": f"#/$defs/sites.{known.at}"},
        "layers": {"description": MODULE_FIELDS["layers"], "$ref": "#/$defs/layers"},
        "when": _reference("when"),
    }
    if "sites" in allowed_fields(known):
        shared[f"sites.{known.at}"] = {"anyOf": _selection({"enum": list(sites_of(known))})}
    if known.size:
        size = size_field(known)
        fields[known.size] = _field(size, f"Size: {size.about}.", shared, known.name, refused)
    for name, field in known.fields.items():
        fields[name] = _field(field, _about(field), shared, f"{known.name}.{name}", refused)
    return _object(
        {name: fields[name] for name in allowed_fields(known)}, ("type", *required_fields(known)), known.about
    )


def _about(field: Field) -> str:
    about = f"{field.about[:1].upper()}{field.about[1:]}."
    default = shown_default(field)
    return f"{about} Where it is left out: {default}." if default else about


def shown_default(field: Field) -> str:
    """What a field is where a space leaves it out; empty where it must not."""
    if field.times_size is not None:
        return f"{field.times_size:g} times the size"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "" if field.default is None else str(field.default)


def _one_of() -> Schema:
    together = _object(
        {"modules": _reference("modules"), "when": _reference("when")},
        ("modules",),
        ENTRIES["modules"],
    )
    alternative = {"if": {"required": ["modules"]}, "then": together, "else": _reference("entry")}
    return _object(
        {
            "one_of": {
                "description": ENTRIES["one_of"],
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", **alternative},
            },
            "priors": _reference("priors"),
            "when": _reference("when"),
        },
        ("one_of",),
    )


def _allocation() -> Schema:
    kinds = [{"const": known.name, "description": known.about} for known in ALLOCATORS.values()]
    one = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"anyOf": kinds}},
        "allOf": [
            {
                "if": {"required": ["type"], "properties": {"type": {"const": name}}},
                "then": _reference(f"allocator.{name}"),
            }
            for name in ALLOCATORS
        ],
    }
    several = _object(
        {
            "one_of": {"description": ENTRIES["one_of"], "type": "array", "minItems": 1, "items": one},
            "priors": _reference("priors"),
        },
        ("one_of",),
    )
    return {"description": FIELDS["allocation"], "if": {"required": ["one_of"]}, "then": several, "else": one}


def _change() -> Schema:
    # A part of a module, which what it extends completes.
    names = dict.fromkeys(name for known in MODULE_TYPES.values() for name in allowed_fields(known))
    part: Schema = {
        "description": "Fields that differ from those of the extended space's module; null takes one away.",
        "type": "object",
        "propertyNames": {"enum": list(names)},
    }
    return {
        "if": {"type": "object", "required": ["one_of"]},
        "then": _reference("one_of"),
        "else": {"anyOf": [part, _NULL]},
    }


def _when() -> Schema:
    value: Schema = {"type": ["string", "number", "boolean"]}
    return {
        "description": MODULE_FIELDS["when"],
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}]},
    }


# -- plain decisions -----------------------------------------------------------------------------------------------------


def _decisions() -> Schema:
    forms = ("choice", "integer", "float")
    about = "A value, or what may be chosen."
    return {
        "decision": {
            "description": about,
            "anyOf": [_reference(f"any.{form}") for form in ("value", *forms)],
        },
        "any.value": {"type": ["number", "string", "boolean"]},
        "any.number": {"type": "number", "minimum": ANY.low, "maximum": ANY.high},
        "any.whole": {"type": "integer", "minimum": ANY.low, "maximum": ANY.high},
        "any.choice": _choice(_reference("any.value")),
        "any.integer": _interval("integer", _reference("any.whole")),
        "any.float": _interval("float", _reference("any.number")),
    }


# -- domains -------------------------------------------------------------------------------------------------------------


def _selection(member: Schema) -> list[Schema]:
    every = {"const": "all", "description": "All that there are."}
    some = {"type": "array", "minItems": 1, "uniqueItems": True, "items": member}
    count = {"type": "integer", "minimum": 1}
    fields: Schema = {
        "subset": {"anyOf": [every, some]},
        "min": count,
        "max": count,
        "contiguous": {"type": "boolean"},
    }
    described = {name: {"description": DOMAIN_FIELDS[name], **fields[name]} for name in fields}
    return [every, some, _object(described, ("subset",), "On or off for each of them.")]


def _field(field: Field, about: str, shared: Schema, name: str, refused: tuple[str, ...] = ()) -> Schema:
    """A field's schema, by reference to the domain of all fields with such values, which is put into `shared`.

    Args:
        field: What a value may be.
        about: The field, in words.
        shared: Domains, by name.
        name: Of the domain, where no other field has these words.
        refused: Forms that cannot be here.
    """
    if field.kind in ("integer", "float"):
        name = f"{field.kind}-from-{field.low:g}" + (f"-to-{field.high:g}" if field.high < 1e9 else "")
        forms = [form for form in DOMAINS if (field.kind, form) != ("integer", "float")]
    else:
        name = "boolean" if field.kind == "boolean" else name
        forms = ["choice", "per"]
    shared[f"{name}.value"] = _value(field)
    here = [form for form in forms if form not in refused]
    for form in here:
        shared[f"{name}.{form}"] = _form(form, field, name, forms)
    whole = "-".join([name, *(f"no-{form}" for form in refused)])
    shared[whole] = {"anyOf": [_reference(f"{name}.{form}") for form in ("value", *here)]}
    return {"description": about, **_reference(whole)}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _value(field: Field) -> Schema:
    if field.kind == "boolean":
        return {"type": "boolean"}
    if field.kind == "word":
        return {"enum": list(field.words)}
    number: Schema = {"type": "integer" if field.kind == "integer" else "number", "minimum": field.low}
    if field.high < 1e9:
        number["maximum"] = field.high
    return {"anyOf": [number, _reference("expression")]}


def _form(form: str, field: Field, name: str, forms: Sequence[str]) -> Schema:
    about, value = DOMAINS[form], _reference(f"{name}.value")
    if form == "choice":
        return _choice(value)
    if form == "tied":
        times = {"description": DOMAIN_FIELDS["times"], "type": "number", "exclusiveMinimum": 0}
        return _object({"tied": {"type": "string"}, "times": times}, ("tied",), about)
    if form == "per":
        inner = [_reference(f"{name}.{one}") for one in forms if one not in ("tied", "per")]
        of = {"description": DOMAIN_FIELDS["of"], "anyOf": inner}
        return _object({"per": _reference("axes"), "of": of}, ("per", "of"), about)
    # A field of numbers may be in an interval of whole ones.
    return _interval(
        form, _value(Field("integer", low=field.low, high=field.high)) if form == "integer" else value
    )


def _choice(value: Schema) -> Schema:
    values = {"type": "array", "minItems": 1, "uniqueItems": True, "items": value}
    fields = {"choice": values, "priors": _reference("priors"), "when": _reference("when")}
    return _object(fields, ("choice",), DOMAINS["choice"])


def _interval(form: str, bound: Schema) -> Schema:
    step: Schema = {"type": "integer" if form == "integer" else "number", "exclusiveMinimum": 0}
    return _object(
        {
            form: {"type": "array", "minItems": 2, "maxItems": 2, "items": bound},
            "log": {"description": DOMAIN_FIELDS["log"], "type": "boolean"},
            "step": {"description": DOMAIN_FIELDS["step"], **step},
            "when": _reference("when"),
        },
        (form,),
        DOMAINS[form],
    )
