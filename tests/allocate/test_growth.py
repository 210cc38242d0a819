"""How fast ranks grow, and whose."""

from hypothesis import given
from hypothesis import strategies as st

from autopeft.allocate import growth


@given(st.integers(1, 5_000))
def test_rounds_are_in_their_part_of_the_training(steps: int) -> None:
    found = growth.rounds(steps)
    assert list(found) == sorted(set(found))
    assert len(found) <= growth.ROUNDS
    assert all(int(growth.BEGINS * steps) <= step <= growth.ENDS * steps for step in found)
    assert found or steps == 1


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20))
def test_laws_never_pass_the_limit_and_reach_it(first: int, more: int, progress: list[float]) -> None:
    limit, there = first + more, first
    for one in sorted(progress):
        assert first <= growth.evenly(one, first, limit) <= limit
        there = growth.faster(one, there, limit)
        assert first <= there <= limit
    assert growth.evenly(1.0, first, limit) == growth.faster(1.0, there, limit) == limit


def test_the_later_law_spends_later() -> None:
    there = 0
    for i in range(1, 11):
        there = growth.faster(i / 20, there, 1_000)
    assert there > growth.evenly(0.5, 0, 1_000)  # of what is missing, a growing share: soon more than evenly


@given(
    st.dictionaries(st.integers(0, 20), st.tuples(st.floats(0, 5), st.integers(1, 9)), max_size=12),
    st.integers(0, 40),
)
def test_the_worthiest_grow_first_within_the_room(units: dict[int, tuple[float, int]], room: int) -> None:
    worth, prices = {k: w for k, (w, _) in units.items()}, {k: p for k, (_, p) in units.items()}
    found = growth.grown(worth, prices, room)
    assert sum(prices[key] for key in found) <= room
    assert len(set(found)) == len(found)
    left = room
    for key in sorted(worth, key=lambda key: (-worth[key], list(worth).index(key))):
        assert (key in found) == (prices[key] <= left)
        left -= prices[key] if key in found else 0
