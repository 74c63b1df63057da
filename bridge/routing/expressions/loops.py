"""Loops: the nodes of a rewritten loop, each turn of which pays from the purse."""

from __future__ import annotations

import ast
from typing import Final

from bridge.routing.expressions.purse import Place

#: The local name of the purse, in the function of a route.
PURSE: Final = "_work"


def begin(items: ast.expr, weight: int, place: Place) -> ast.expr:
    """Return what a loop runs over: the elements of `items`, each turn of which costs `weight`.

    A failure within the loop names the element: see `Place`. The caller places the new nodes.
    """
    arguments = [ast.Name(PURSE, ast.Load()), items, ast.Constant(weight), ast.Constant(place)]  # type: ignore[arg-type]
    return ast.Call(ast.Name("_each", ast.Load()), arguments, [])
