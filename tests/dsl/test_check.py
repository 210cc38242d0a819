"""What may be together, and what conditions and ties may name. What is refused is in `broken/`."""

import pytest
from shapes import BERT

from autopeft.dsl import Space, read_space
from autopeft.errors import SpaceError


def a_space(modules: str, training: str = "") -> Space:
    return read_space(
        f"name: s\nmodules:\n{modules}\ntraining: {{learning_rate: 0.001{training}}}\n", "s.yaml"
    )


@pytest.mark.parametrize(
    "modules",
    [
        # one type at different sites, or in different layers
        "  a: {type: lora, sites: [q], rank: 1}\n  b: {type: lora, sites: [v], rank: 2}",
        "  a: {type: lora, sites: [q], layers: [0], rank: 1}\n  b: {type: lora, sites: [q], layers: [1], rank: 2}",
        # two positions of a bottleneck are two kinds
        "  a: {type: bottleneck, position: serial, size: 1}\n  b: {type: bottleneck, position: parallel, size: 2}",
        # different types share sites
        "  a: {type: lora, sites: [q], rank: 1}\n  b: {type: ia3, sites: [q]}",
        # alternatives of one gate are never together
        "  a:\n    one_of: [{type: lora, sites: [q], rank: 1}, {type: lora, sites: [q], rank: 2, dora: true}]",
        "  a:\n    one_of: [{type: prompt_tuning, tokens: 1}, {type: prefix_tuning, tokens: 2}]",
        # the frozen backbone takes nothing's place
        "  a:\n    one_of: [{type: frozen}, {type: ia3, sites: [q]}]\n  b: {type: prompt_tuning, tokens: 1}",
    ],
)
def test_these_can_be_together(modules: str) -> None:
    assert a_space(modules)


def conditional(when: str) -> Space:
    return a_space(
        f"""\
  a:
    one_of:
      - type: lora
        sites: [q]
        rank: {{choice: [1, 4]}}
        init: {{choice: [default, pissa, olora]}}
        rslora: {{choice: [false, true]}}
        dora: {{choice: [false, true], when: {when}}}
      - {{type: ia3, sites: [k]}}
  b: {{type: prefix, size: {{integer: [0, 12]}}}}
  c: {{type: sparse, sites: [q], density: {{float: [0.1, 0.9]}}}}""",
        ", batch_size: {choice: [8, 16], when: {a.type: ia3}}",
    )


@pytest.mark.parametrize(
    "when",
    [
        "{init: pissa}",
        "{init: [pissa, olora]}",
        "{rank: 4}",
        "{rank: '> 1'}",
        "{rank: '<= 1', init: default}",
        "{rslora: true}",
        "{a.lora.rank: 4}",
        "{a.type: lora}",
        "{b.size: '>= 12'}",
        "{b.size: 12}",
        "{c.density: '< 0.5'}",
        "{c.density: 0.25}",
    ],
)
def test_conditions_that_can_be_true(when: str) -> None:
    assert conditional(when)


@pytest.mark.parametrize(
    "when",
    [
        "{rank: 8}",
        "{rank: '> 4'}",
        "{b.size: 13}",
        "{b.size: '> 12'}",
        "{b.size: '< 0'}",
        "{a.type: ia3}",
        "{init: Pissa}",
        "{rslora: 1}",
    ],
)
def test_conditions_that_cannot_be_true(when: str) -> None:
    with pytest.raises(SpaceError, match="is never"):
        conditional(when)


def test_a_number_that_only_a_backbone_knows_is_not_judged() -> None:
    assert a_space(
        "  a: {type: lora, sites: [q], rank: {choice: [1, hidden]}, dora: {choice: [false, true], "
        "when: {rank: '>= 1000000'}}}"
    )


def test_ties_lead_to_numbers_anywhere_that_is_always_there() -> None:
    assert a_space(
        "  a: {type: prefix, size: {choice: [1, 2]}}\n"
        "  b: {type: lora, sites: [q], rank: {tied: a.size}, alpha: {tied: rank, times: 2}}"
    )
    assert a_space(
        "  a: {type: lora, sites: [q], rank: {per: layer, of: {choice: [1, 2]}}, alpha: {tied: rank, times: 3}}"
    )


def test_a_long_chain_of_conditions_is_read_and_bound() -> None:
    """Each link names two decisions of the one before: without care the work would double with each."""
    sites = ("q", "k", "v", "o", "up", "down")
    modules = "\n".join(
        f"  m{i}: {{type: lora, sites: [{sites[i % 6]}], layers: [{i // 6}], rank: {{choice: [1, 2]}}, "
        f"dora: {{choice: [false, true]}}{f', when: {{m{i - 1}.rank: 2, m{i - 1}.dora: true}}' if i else ''}}}"
        for i in range(40)
    )
    bound = a_space(modules).bind(BERT, 10**9)
    assert len(bound.decisions) == 2 * 40 + 1
    assert len(bound.parts[-1].needs) == 2 * 39
