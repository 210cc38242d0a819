"""Numbers that depend on the backbone: `hidden`, `hidden / 2`, `2 * layers`.

Python's own parser reads them; only numbers, the four names, `+ - * /`, `//` and brackets are taken, and nothing is run.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping

NAMES = ("hidden", "heads", "intermediate", "layers")
_LONGEST = 100  # characters
_LIKELY = {
    "hidden": 769,
    "heads": 13,
    "intermediate": 3079,
    "layers": 11,
}  # all different: no difference is 0

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def is_expression(text: str) -> bool:
    """Whether a text is a number made of the backbone's names; one at least is in it.

    >>> is_expression("hidden / 2"), is_expression("hiden / 2"), is_expression("hidden ** 2"), is_expression("8")
    (True, False, False, False)
    """
    try:
        evaluate(text, _LIKELY)
    except ValueError:
        return False
    return any(name in text for name in NAMES)


def evaluate(text: str, names: Mapping[str, int]) -> float:
    """The value of an expression.

    Args:
        text: Such as `hidden / 2`.
        names: Values of the names.

    Raises:
        ValueError: It is no expression, has another name in it, or is not finite.

    >>> evaluate("hidden / 2 - 1", {"hidden": 768})
    383.0
    """
    if len(text) > _LONGEST:
        raise ValueError("too long")
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body, names)
    except (SyntaxError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _value(node: ast.expr, names: Mapping[str, int]) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        assert isinstance(node.value, int | float)
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, names)
    raise ValueError(f"'{ast.unparse(node)}' is none of {', '.join(NAMES)}, a number, or + - * / // of these")
