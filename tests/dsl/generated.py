"""Spaces that hypothesis makes: all domains and forms of the language, small enough to count."""

from dataclasses import replace

from hypothesis import strategies as st

from autopeft import dsl
from autopeft.dsl import (
    AllocatorSpec,
    Choice,
    Condition,
    Float,
    Integer,
    Members,
    ModuleSpec,
    OneOf,
    Per,
    Subset,
    SubSpace,
    Tied,
    Value,
)
from autopeft.dsl.leaves import leaves

SITES = ["q", "up", "v", "down"]


@st.composite
def selections(draw: st.DrawFn, of: list[object], *, whole: bool = True) -> object:
    """Some of these, or all: fixed, switches, or a window."""
    members = draw(st.lists(st.sampled_from(of), min_size=1, max_size=len(of), unique=True))
    members.sort(key=of.index)
    kind = draw(st.sampled_from(["members", "subset", "window"]))
    chosen = None if whole and draw(st.booleans()) else tuple(members)
    if kind == "members":
        return Members(chosen)
    most = len(of) if chosen is None else len(chosen)
    low = draw(st.integers(1, most))
    high = draw(st.one_of(st.none(), st.integers(low, most)))
    return Subset(chosen, low, high, contiguous=kind == "window")


sizes = st.one_of(
    st.lists(st.sampled_from([0, 1, 2, 4, "hidden / 2", "2 * heads"]), min_size=1, max_size=4, unique=True)
    .filter(lambda values: any(v != 0 for v in values))
    .map(lambda values: Choice(tuple(values))),
    st.builds(lambda low, more: Integer(low, low + more), st.integers(0, 2), st.integers(1, 3)),
    st.just(Integer(1, 8, log=True)),
    st.just(Integer(1, 5000, log=True)),
    st.just(3),
)
axes = st.sampled_from(["layer", "site", ("layer", "site")])


@st.composite
def adapters(
    draw: st.DrawFn,
    kinds: tuple[str, ...] = ("lora", "bottleneck", "prefix", "ia3", "sparse"),
    *,
    count: int = 3,
) -> ModuleSpec:
    kind = draw(st.sampled_from(kinds))
    layers = draw(st.one_of(st.none(), selections(list(range(count)))))
    if kind == "ia3":
        return ModuleSpec("ia3", sites=draw(selections(SITES)), layers=layers)
    if kind == "prefix":
        return ModuleSpec("prefix", layers=layers, size=draw(sizes))
    if kind == "sparse":
        density = draw(
            st.sampled_from([Float(0.01, 0.5, log=True), Choice((0, 0.1, 0.3)), Float(0.1, 0.4, step=0.1)])
        )
        return ModuleSpec("sparse", sites=draw(selections(SITES)), layers=layers, density=density)
    size = draw(sizes)
    if isinstance(size, Choice | Integer) and draw(st.booleans()):
        size = Per(draw(axes), size)
    if kind == "bottleneck":
        position = draw(st.sampled_from(["serial", Choice(("serial", "parallel"))]))
        return ModuleSpec("bottleneck", layers=layers, position=position, size=size)
    fields: dict[str, object] = {}
    if draw(st.booleans()):
        fields["alpha"] = draw(st.sampled_from([Tied("rank", 2.0), Choice((4, 16)), 8]))
    if draw(st.booleans()):
        fields["init"] = Choice(
            ("default", "pissa", "olora"), priors=draw(st.sampled_from([(), (1.0, 2.0, 0.5)]))
        )
        if draw(st.booleans()):
            fields["dora"] = Choice((False, True), when=(Condition("init", "in", ("default", "pissa")),))
    return ModuleSpec("lora", sites=draw(selections(SITES)), layers=layers, rank=size, **fields)


@st.composite
def allocations(draw: st.DrawFn) -> tuple[AllocatorSpec, ...]:
    """No allocator, one, or several to choose from: of such as deal out LoRA."""
    every = (
        AllocatorSpec("uniform"),
        AllocatorSpec(
            "spt", threshold=draw(st.sampled_from([Choice((1, 10)), 2.5, Float(1.0, 20.0, log=True)]))
        ),
        AllocatorSpec("ist", active=Float(0.1, 1.0), every=5),
        AllocatorSpec("random"),
        AllocatorSpec("eva", rho=Choice((1, 2))),
    )
    return tuple(draw(st.lists(st.sampled_from(every), max_size=3, unique_by=lambda one: one.type)))


@st.composite
def spaces(draw: st.DrawFn, layers: int = 3) -> dsl.Space:
    """Any space of the language, for a backbone of so many layers."""
    form = draw(st.sampled_from(["one", "two", "one_of", "nested", "conditional"]))
    if form == "one":
        modules = {"a": draw(adapters(count=layers))}
    elif form == "two":
        modules = {
            "a": draw(adapters(("lora", "ia3", "sparse"), count=layers)),
            "b": draw(adapters(("bottleneck", "prefix"), count=layers)),
        }
    elif form == "one_of":
        modules = {
            "a": OneOf(draw(st.lists(adapters(count=layers), min_size=1, max_size=3)), draw(st.just(())))
        }
    elif form == "nested":
        inner = SubSpace(
            {
                "p": draw(adapters(("prefix",), count=layers)),
                "s": draw(adapters(("bottleneck",), count=layers)),
            }
        )
        modules = {
            "a": OneOf(
                (draw(adapters(count=layers)), OneOf((ModuleSpec("frozen"), inner)), inner), (3.0, 1.0, 1.0)
            )
        }
    else:
        first = ModuleSpec("prefix", size=Choice((0, 1, 2)))
        second = draw(adapters(("lora", "ia3"), count=layers))
        second = ModuleSpec(
            second.type, second.sites, second.layers, (Condition("a.size", "<=", (1,)),), **second.fields
        )
        modules = {"a": first, "b": second}
    rate = draw(
        st.sampled_from([0.001, Float(1.2345e-4, 0.0299), Float(1e-4, 3e-2, log=True), Choice((1e-3, 1e-2))])
    )
    training: dict[str, object] = {"learning_rate": rate}
    if draw(st.booleans()):
        training["weight_decay"] = Choice((0, 0.1))
    there = {leaf.spec.type for leaf in leaves(modules)[1]}
    allocation = draw(allocations()) if "lora" in there else ()
    constraints = draw(st.sampled_from([(), ("sites <= 4",), ("adapter_bytes <= 3kB",), ("sites >= 2",)]))
    return dsl.build_space(
        "made",
        modules,
        training,
        layers=draw(st.one_of(st.none(), selections(list(range(layers))))),
        constraints=constraints,
        allocation=allocation,
    )


words = st.one_of(
    st.sampled_from(["a", "b", "no", "1e-5", "07", "~", "null", "hidden", "x y", "", "True", ">= 2"]),
    st.text("ab1.e-: #'\"{}", max_size=4),
)
numbers = st.one_of(st.integers(-50, 50), st.sampled_from([0.5, -1.25e-7, 1e12, 0.1]))


@st.composite
def plain_decisions(draw: st.DrawFn) -> Choice | Integer | Float:
    """A choice, an integer or a float, without conditions."""
    form = draw(st.sampled_from(["words", "mixed", "numbers", "truths", "integer", "float"]))
    if form == "integer":
        low = draw(st.integers(-5, 5))
        high = low + draw(st.sampled_from([0, 1, 7, 3000]))
        log = low > 0 and draw(st.booleans())
        return Integer(low, high, log, 1 if log else draw(st.sampled_from([1, 2])))
    if form == "float":
        low, width = (
            draw(st.sampled_from([-3.0, 0.0, 1.23456e-4, 2000])),
            draw(st.sampled_from([0.1, 1.0, 1e3])),
        )
        log = low > 0 and draw(st.booleans())
        return Float(low, low + width, log, None if log else draw(st.sampled_from([None, width / 4])))
    values = {
        "words": words,
        "mixed": st.one_of(words, numbers),
        "numbers": numbers,
        "truths": st.booleans(),
    }[form]
    listed = draw(st.lists(values, min_size=1, max_size=5, unique=True))
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=len(listed), max_size=len(listed)))
    return Choice(tuple(listed), tuple(weights) if draw(st.booleans()) else ())


@st.composite
def conditions(draw: st.DrawFn, on: str, domain: Choice | Integer | Float | Value) -> Condition:
    """A condition that can hold."""
    if isinstance(domain, Value):
        return Condition(on, "in", (domain.value,))
    if isinstance(domain, Choice):
        some = draw(st.lists(st.sampled_from(domain.values), min_size=1, max_size=2, unique_by=repr))
        if any(isinstance(v, str | bool) for v in domain.values) or draw(st.booleans()):
            return Condition(on, "in", tuple(some))
        return Condition(on, draw(st.sampled_from(["<=", ">="])), (some[0],))
    return Condition(
        on, draw(st.sampled_from(["<=", ">="])), (draw(st.sampled_from([domain.low, domain.high])),)
    )


@st.composite
def plain_spaces(draw: st.DrawFn) -> dsl.Space:
    """Any space of plain decisions, with conditions on earlier ones and on later ones."""
    names = draw(st.permutations(["depth", "C", "on", "n.1", "last-1"]))[: draw(st.integers(1, 5))]
    domains: dict[str, Choice | Integer | Float | Value] = {}
    for name in names:
        if draw(st.integers(0, 5)) == 0:
            domains[name] = Value(draw(st.one_of(words, numbers, st.booleans())))
            continue
        domain = draw(plain_decisions())
        earlier = draw(st.lists(st.sampled_from(list(domains)), max_size=2, unique=True)) if domains else []
        when = [draw(conditions(other, domains[other])) for other in earlier]
        domains[name] = replace(domain, when=tuple(c for c in when if not _compared(c)))
    order = draw(st.permutations(list(domains)))
    return dsl.build_space("made", decisions={name: domains[name] for name in order})


def _compared(condition: Condition) -> bool:
    # As a value, '>= 2' would be read as a comparison.
    return any(isinstance(value, str) and value[:1] in "<>" and value for value in condition.values)
