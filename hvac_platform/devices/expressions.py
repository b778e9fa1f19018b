"""Expressions of device types: which are safe to compute, before anything computes them."""

from __future__ import annotations

import ast

#: Functions that an expression may call, all of numexpr.
FUNCTIONS = frozenset({"abs", "where", "log", "exp", "sqrt", "sin", "cos", "tan", "floor", "ceil"})

MOST_CHARACTERS = 1_000
MOST_PARTS, DEEPEST = 200, 60
LARGEST_NUMBER = 1e15
LARGEST_POWER = 10

_ALLOWED_SYNTAX = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant, ast.Load,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr,
    ast.USub, ast.UAdd, ast.Invert,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
)  # fmt: skip


def expression_problem(expression: str) -> str:
    """What makes an expression unusable whatever its names stand for; empty if nothing does.

    >>> expression_problem("abs(a - b) > 2"), expression_problem("9**9**9 > a")
    ('', 'a power must be of something that is read, to a number of at most 10')
    """
    if len(expression) > MOST_CHARACTERS:
        return f"{len(expression)} characters, over the {MOST_CHARACTERS} that are allowed"
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "syntax error"
    return _size_problem(tree) or next(filter(None, map(_part_problem, ast.walk(tree))), "")


def _size_problem(tree: ast.AST) -> str:
    level, parts, depth = [tree], 0, 0
    while level:
        parts += len([node for node in level if isinstance(node, ast.expr)])
        depth += 1
        if parts > MOST_PARTS:
            return f"more than {MOST_PARTS} parts"
        if depth > DEEPEST:
            return f"nested more than {DEEPEST} levels deep (put parentheses around groups of terms)"
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return ""


def _part_problem(node: ast.AST) -> str:
    if isinstance(node, ast.BoolOp | ast.Not | ast.And | ast.Or):
        return "and, or, not (write &, |, ~ and put comparisons in parentheses)"
    if isinstance(node, ast.Compare) and len(node.ops) > 1:
        return "a chain of comparisons (put each comparison in parentheses)"
    if not isinstance(node, _ALLOWED_SYNTAX):
        return f"{type(node).__name__} is not allowed"
    if isinstance(node, ast.Call) and (
        node.keywords or not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS)
    ):
        return "unknown function"
    if isinstance(node, ast.Constant):
        if type(node.value) not in (int, float):
            return f"{node.value!r} is not a number"
        assert isinstance(node.value, int | float)
        if not abs(node.value) <= LARGEST_NUMBER:
            return f"a number over {LARGEST_NUMBER:g}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _harmless_power(node):
        return f"a power must be of something that is read, to a number of at most {LARGEST_POWER}"
    return ""


def _harmless_power(node: ast.BinOp) -> bool:
    """Powers of constants are computed in whole numbers of any length before a single reading is looked at."""
    exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not isinstance(exponent, ast.Constant) or not isinstance(exponent.value, int | float):
        return False
    reads = any(isinstance(part, ast.Name) and part.id not in FUNCTIONS for part in ast.walk(node.left))
    return reads and abs(exponent.value) <= LARGEST_POWER
