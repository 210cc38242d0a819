"""Costs of our own types, against numbers written out by hand."""

import pytest

from autopeft.dsl.own_types import ACTIVATIONS, OWN_TYPES, sparse_count
from autopeft.nouns import Place

EVEN = Place("block", 16, 16)
UNEVEN = Place("block", 10, 7)
LINEAR = Place("linear", 30, 20, bias=20)


def options(name: str, **given: object) -> dict[str, object]:
    return {field: value.default for field, value in OWN_TYPES[name].fields.items()} | given


@pytest.mark.parametrize(
    ("place", "position", "width", "expected"),
    [
        (EVEN, "serial", 4, 16 * 4 + 4 + 4 * 16 + 16),
        (EVEN, "parallel", 4, 16 * 4 + 4 + 4 * 16 + 16),
        (UNEVEN, "parallel", 3, 10 * 3 + 3 + 3 * 7 + 7),
        (UNEVEN, "serial", 3, 7 * 3 + 3 + 3 * 7 + 7),
        (EVEN, "serial", 1, 49),
    ],
)
def test_a_bottleneck_costs_its_maps_and_biases(
    place: Place, position: str, width: int, expected: int
) -> None:
    kind = OWN_TYPES["bottleneck"]
    for activation in ACTIVATIONS:
        chosen = options("bottleneck", position=position, activation=activation, scaling=4.0)
        assert kind.trainable(width, chosen, place) == expected
        assert kind.stored(width, chosen, place) == 0


def test_a_prefix_costs_keys_and_values_of_the_key_heads() -> None:
    kind = OWN_TYPES["prefix"]
    place = Place("block", 16, 16, prefix_width=8)
    assert kind.trainable(3, {}, place) == 3 * 8 + 3 * 8
    assert kind.objection(3, {}, place) == ""
    assert "attention interface" in kind.objection(3, {}, EVEN)


@pytest.mark.parametrize(
    ("density", "count"), [(0.01, 6), (0.0101, 6), (0.011, 7), (1e-9, 1), (1, 600), (1.0, 600), (0.5, 300)]
)
def test_a_sparse_delta_has_a_share_of_the_entries_and_at_least_one(density: float, count: int) -> None:
    kind = OWN_TYPES["sparse"]
    assert sparse_count(density, LINEAR) == count
    for mask in ("magnitude", "random", "sensitivity"):
        assert kind.trainable(density, {"mask": mask}, LINEAR) == count
        assert kind.stored(density, {"mask": mask}, LINEAR) == count


def test_indices_that_need_eight_bytes_count_twice() -> None:
    vast = Place("linear", 2**16, 2**16)
    assert OWN_TYPES["sparse"].stored(1e-6, {"mask": "random"}, vast) == 2 * sparse_count(1e-6, vast)


def test_the_language_does_not_offer_a_mask_that_needs_scores() -> None:
    assert OWN_TYPES["sparse"].fields["mask"].words == ("magnitude", "random")


def test_biases_cost_what_is_there() -> None:
    kind = OWN_TYPES["bias"]
    assert kind.trainable(1, {}, LINEAR) == 20
    assert kind.trainable(1, {}, Place("norm", 32, 32, bias=32)) == 32
    assert kind.objection(1, {}, LINEAR) == ""
    assert kind.objection(1, {}, Place("norm", 32, 32)) == "there is no bias"


def test_the_frozen_backbone_costs_nothing() -> None:
    assert OWN_TYPES["frozen"].trainable(1, {}, Place("input", 16, 16)) == 0


def test_every_type_is_the_identity_before_training_and_names_itself() -> None:
    for name, kind in OWN_TYPES.items():
        assert kind.name == name
        assert kind.identity
        assert kind.about
        assert not kind.changes_base
