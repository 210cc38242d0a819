from hypothesis import given
from hypothesis import strategies as st

from autopeft.dsl.cost import trainable_parameters
from autopeft.nouns import Configuration, Module, Study
from autopeft.report.anatomy import Occupant, anatomy, differing, in_common, shape_of

from .filled import LIMIT, SHAPE, WHOLE, lora, serial

STUDY = Study(1, "s", WHOLE, LIMIT, "serials", None, "")

modules = st.builds(
    lambda size, layers, sites: Module("lora", size, tuple(sorted(layers)), (("sites", tuple(sites)),)),
    st.integers(1, 8),
    st.sets(st.integers(0, 3), min_size=1),
    st.lists(st.sampled_from(["q", "k", "v", "o", "up", "down"]), min_size=1, max_size=3, unique=True),
)


@given(modules, st.integers(0, 4))
def test_places_and_what_is_shared_add_up_to_the_exact_count(module: Module, size: int) -> None:
    configuration = Configuration.of([module, *serial(size).modules], 1e-3)
    found = anatomy(configuration, STUDY)
    placed = sum(one.parameters or 0 for there in found.there.values() for one in there)
    assert placed + found.shared == trainable_parameters(configuration, SHAPE)


def test_what_a_module_has_once_belongs_to_no_place() -> None:
    # VB-LoRA's bank of vectors is one for all places.
    module = Module("vblora", 4, (0, 1), (("sites", ("q", "v")),))
    configuration = Configuration.of([module], 1e-3)
    found = anatomy(configuration, STUDY)
    placed = sum(one.parameters or 0 for there in found.there.values() for one in there)
    assert found.shared > 0
    assert placed + found.shared == trainable_parameters(configuration, SHAPE)


def test_kinds_and_sizes_are_named() -> None:
    found = anatomy(serial(6), STUDY)
    assert set(found.there) == {(0, "ffn"), (2, "ffn")}
    assert found.there[0, "ffn"][0] == Occupant("serial", 6.0, found.parameters(0, "ffn"))
    assert found.layers == 4


def test_without_the_shape_places_are_known_and_parameters_are_not() -> None:
    settings = {**WHOLE, "backbone": {"parameters": 10, "layers": 4}}
    study = Study(1, "s", settings, LIMIT, "serials", None, "")
    assert shape_of(study) is None
    found = anatomy(serial(6), study)
    assert found.there[0, "ffn"] == (Occupant("serial", 6.0, None),)


def test_what_differs() -> None:
    first, second = serial(6), serial(12)
    other = anatomy(lora(8, 1e-3), STUDY, beside=[first])
    assert differing(anatomy(first, STUDY), anatomy(first, STUDY)) == set()
    assert differing(anatomy(first, STUDY), anatomy(second, STUDY)) == {(0, "ffn"), (2, "ffn")}
    assert len(differing(anatomy(first, STUDY), other)) == 2 + 8
    assert {"ffn", "q", "v"} <= set(other.sites)


def test_what_configurations_have_in_common() -> None:
    empty, shares = in_common([serial(6), serial(12), lora(8, 1e-3)], STUDY)
    assert shares[0, "ffn"] == 2 / 3
    assert shares[3, "q"] == 1 / 3
    assert (1, "ffn") not in shares
    assert {"ffn", "q", "v"} <= set(empty.sites)
