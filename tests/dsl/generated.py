"""Spaces that hypothesis makes: all domains and forms of the language, small enough to count."""

from hypothesis import strategies as st

from autopeft import dsl
from autopeft.dsl import (
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
)

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
    constraints = draw(st.sampled_from([(), ("sites <= 4",), ("adapter_bytes <= 3kB",), ("sites >= 2",)]))
    return dsl.build_space(
        "made",
        modules,
        training,
        layers=draw(st.one_of(st.none(), selections(list(range(layers))))),
        constraints=constraints,
    )
