"""The expression language: text -> checked tree -> rewritten tree, and the explanation of a failure on an event.

The language is a whitelist over Python's own grammar: everything else is refused. Allowed expressions are rewritten so
that CPython runs them natively (`payload.a` is `payload["a"]`) and so that they call only the bounded functions of
`RUNTIME`. `bridge/routing/route_function.py` puts the rewritten expressions of a route into one function.

A mistake in an expression is an InvalidValue when the configuration is read. An ExpressionFailure is another thing: a
valid expression that fails on one event.
"""

from bridge.routing.expressions.columns import KnownTables
from bridge.routing.expressions.failures import (
    EXPRESSION_ERRORS,
    ExpressionFailure,
    explain_failure,
    is_missing,
    part_of,
)
from bridge.routing.expressions.functions import FUNCTIONS, READERS, RUNTIME
from bridge.routing.expressions.lookup import lookups
from bridge.routing.expressions.purse import PURSE, STEPS, STEPS_PER_ELEMENT, TooLarge
from bridge.routing.expressions.rewriter import ELEMENT_NAMES, NAMES, Expression, parse

__all__ = [
    "ELEMENT_NAMES",
    "EXPRESSION_ERRORS",
    "FUNCTIONS",
    "NAMES",
    "PURSE",
    "READERS",
    "RUNTIME",
    "STEPS",
    "STEPS_PER_ELEMENT",
    "Expression",
    "ExpressionFailure",
    "KnownTables",
    "TooLarge",
    "explain_failure",
    "is_missing",
    "lookups",
    "parse",
    "part_of",
]
