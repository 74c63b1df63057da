"""The expression language: text -> checked tree -> rewritten tree, and what a failure of it means.

The language is a whitelist over Python's own grammar: what is not named in it is refused. What is allowed is
rewritten so that CPython runs it natively (`payload.a` is `payload["a"]`) and so that only the bounded functions of
`RUNTIME` are ever called. `bridge/routes.py` puts many rewritten expressions into one function.
"""

from bridge.routing.expressions.faults import EXPRESSION_ERRORS, Fault, fault, is_missing
from bridge.routing.expressions.functions import FUNCTIONS, RUNTIME
from bridge.routing.expressions.rewriter import NAMES, Expression, parse

__all__ = ["EXPRESSION_ERRORS", "FUNCTIONS", "NAMES", "RUNTIME", "Expression", "Fault", "fault", "is_missing", "parse"]
