import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.budget import Budget
from autopeft.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("0.5%", Budget(fraction=0.005)),
        (" 0.5 % ", Budget(fraction=0.005)),
        ("100%", Budget(fraction=1.0)),
        ("1e-3%", Budget(fraction=1e-5)),
        ("300k", Budget(count=300_000)),
        ("300K", Budget(count=300_000)),
        ("1.2m", Budget(count=1_200_000)),
        ("1.001k", Budget(count=1001)),  # not 1000.9999999999999
        ("0.07b", Budget(count=70_000_000)),
        ("120000", Budget(count=120_000)),
        ("120_000", Budget(count=120_000)),
        ("1e6", Budget(count=1_000_000)),
    ],
)
def test_reads_shares_and_counts(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "cannot read the budget '': write a share of the backbone such as 0.5%, "
            "or a number of parameters such as 300k or 120000.",
        ),
        (
            "-5%",
            "cannot read the budget '-5%': write a share of the backbone such as 0.5%, "
            "or a number of parameters such as 300k or 120000.",
        ),
        ("1.2.3%", "cannot read the number '1.2.3' in the budget '1.2.3%'."),
        ("0%", "the budget '0%' is outside 0 % to 100 % of the backbone."),
        ("101%", "the budget '101%' is outside 0 % to 100 % of the backbone."),
        ("1e-999%", "the budget '1e-999%' is outside 0 % to 100 % of the backbone."),
        ("0.5", "the budget '0.5' is not a whole number of parameters above 0. Did you mean '0.5%'?"),
        ("1.5", "the budget '1.5' is not a whole number of parameters above 0. Did you mean '1.5%'?"),
        ("0.0005k", "the budget '0.0005k' is not a whole number of parameters above 0."),
        ("0", "the budget '0' is not a whole number of parameters above 0."),
        ("1e400", "the budget '1e400' is more than any model has."),
        ("1e999999999", "the budget '1e999999999' is more than any model has."),
    ],
)
def test_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(BudgetError) as raised:
        Budget.parse(text)
    assert str(raised.value) == message


def test_limit_is_rounded_down_but_not_below_a_whole_number() -> None:
    assert Budget.parse("0.5%").limit(1_000_000) == 5_000
    assert Budget.parse("0.5%").limit(1_000_199) == 5_000
    assert Budget.parse("29%").limit(100) == 29  # 0.29 * 100 is 28.999999999999996
    assert Budget.parse("300k").limit(10) == 300_000


@given(st.integers(1, 10_000_000))
def test_text_of_a_share_is_read_back(millionths: int) -> None:
    budget = Budget.parse(f"{millionths / 100_000}%")
    assert Budget.parse(str(budget)) == budget


@given(st.integers(1, 10**18))
def test_text_of_a_count_is_read_back(count: int) -> None:
    assert Budget.parse(str(Budget(count=count))) == Budget(count=count)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except BudgetError:
        return
    assert budget.limit(10**9) >= 0


def test_text_is_what_a_person_would_write() -> None:
    assert [str(Budget.parse(t)) for t in ("0.5%", "100%", "1e-3%", "300k")] == [
        "0.5%",
        "100%",
        "0.001%",
        "300000",
    ]
