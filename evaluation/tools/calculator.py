"""tools=[calculator]: the four operations on numbers, exact.

No `eval`: an expression is read by Python's parser and walked here, as fractions. What is no sum of plain numbers, has
no value, or is longer than anybody works out in a step, is left to the model.
"""

import ast
import operator
import re
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

LONGEST = 200  # characters of an expression
DEEPEST = 100  # operations and signs within one another
MOST_DIGITS = 30  # of a result
SIGNIFICANT, CENTS = 6, 2  # digits of a result that is no whole number; at least so many behind the point

# ASCII only; commas only where they group thousands. Python's own 1_000, 1e9, 0x1F and 2**3 are none of it. Nothing is
# tried twice (atomic groups): no text takes more than one pass.
NUMBER = r"(?<![\d.])\$?(?>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
EXPRESSION = re.compile(rf"(?>{NUMBER}|[-+() ]|\*(?!\*)|/(?!/))*+", re.ASCII)
OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def answer(asked: str) -> str | None:
    """The result of a sum as it is written: "12+7" -> "19", "7/2" -> "3.5", "1/3" -> "0.333333"; None: no answer."""
    value = exact(asked)
    return None if value is None else written(value)


def exact(expression: str) -> Fraction | None:
    """Value of a sum of numbers with + - * / and parentheses; None for anything else.

    Numbers may have a dollar sign before them and commas between their thousands.
    """
    if len(expression) > LONGEST or not EXPRESSION.fullmatch(expression):
        return None
    plain = re.sub(r"[,$]", "", expression).strip()
    try:
        return _value(ast.parse(plain, mode="eval").body, plain, DEEPEST)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: Any, text: str, depth: int) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(text[node.col_offset : node.end_col_offset])  # as written: 0.1 is a tenth
    if depth and isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = (_value(side, text, depth - 1) for side in (node.left, node.right))
        return OPERATORS[type(node.op)](left, right)
    if depth and isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, text, depth - 1)
    raise ValueError(f"{type(node).__name__} is no sum")


def written(value: Fraction) -> str | None:
    """In digits, without exponent; rounded where it is no whole number. None for more digits than MOST_DIGITS."""
    whole_digits = len(str(abs(int(value))))
    if value.denominator == 1:
        return str(value.numerator) if whole_digits <= MOST_DIGITS else None
    context = Context(prec=max(SIGNIFICANT, whole_digits + CENTS))
    found = format(context.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize(), "f")
    return found if len(found) <= MOST_DIGITS else None
